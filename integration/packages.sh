#!/usr/bin/env bash
# Installs the Debian packages the integration tests use, when it may; else says what is missing.
set -eu
# What is looked for (a command, or a file) and the package that has it.
declare -A package_of=(
  [dig]=dnsutils [kdig]=knot-dnsutils [curl]=curl [ip]=iproute2 [faketime]=faketime
  [haproxy]=haproxy [promtool]=prometheus [victoria-metrics]=victoria-metrics
  [crypt-xordataexchange]=golang-github-xordataexchange-crypt
  [/usr/lib/python3/dist-packages/consul/std.py]=python3-consul2
)
missing=()
for thing in "${!package_of[@]}"; do
  [ -e "$thing" ] || command -v "$thing" >/dev/null || PATH="$PATH:/usr/sbin" command -v "$thing" >/dev/null ||
    missing+=("${package_of[$thing]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${missing[*]} ..."
  # The daemons among them are run by the tests alone: none is started by its installation.
  guard=/usr/sbin/policy-rc.d
  [ -e "$guard" ] || { printf '#!/bin/sh\nexit 101\n' >"$guard" && chmod +x "$guard" && trap 'rm -f "$guard"' EXIT; }
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "missing: ${missing[*]}; install them (apt-get install ${missing[*]}) and run this again" >&2
  exit 1
fi
