#!/usr/bin/env bash
# Installs the Debian packages the integration tests use, when it may; else says what is missing.
set -eu
declare -A package_of=([dig]=dnsutils [curl]=curl [ip]=iproute2 [faketime]=faketime)
missing=()
for tool in "${!package_of[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package_of[$tool]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${missing[*]} ..."
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
else
  echo "missing: ${missing[*]}; install them (apt-get install ${missing[*]}) and run this again" >&2
  exit 1
fi
