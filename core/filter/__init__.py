"""The filter language of `?filter=` (that of go-bexpr): pure, from text to a function of records.

`syntax` is what an expression is, `parser` makes one of text, `selectors` checks it against a kind of record, `evaluate`
decides. Called through `expression.compile_filter`: by the list endpoints, and for the subsets of service-resolver entries.
"""
