"""The filter language of `?filter=` (that of go-bexpr): pure, from text to a function of records.

`syntax` is what an expression is, `parser` makes one of text, `selectors` checks it against a kind of record, `evaluate`
decides. Called by the list endpoints through `expression.compile_filter`.
"""
