"""The two grammars that `parse` gives to Lark: HCL 1 with the habits of HCL 2, and strict JSON.

Newlines are white space, as in HCL 1: a key is told from a value by its place, so attributes may share a line and commas
may be left out. Terminals that carry a position are named, so that Lark keeps them.
"""

HCL = r"""
document: item*
item: key+ EQUAL value _comma?  -> attribute
    | key+ COLON value _comma?  -> attribute
    | key+ object _comma?       -> block
key: IDENT | STRING
?value: STRING -> string
      | HEREDOC -> heredoc
      | NUMBER -> number
      | BOOL -> bool
      | NULL -> null
      | list
      | object
list: LSQB (value _comma?)* "]"
object: LBRACE item* "}"
_comma: ","

EQUAL: "="
COLON: ":"
LSQB: "["
LBRACE: "{"
IDENT: /[^\W\d][\w.\-]*/
STRING: /"(?:[^"\\\n$]|\\[^\n]|\$(?!\{)|\$\{[^}\n]*\})*"/
HEREDOC: /<<-?(?P<mark>[^\W\d][\w.\-]*)[ \t]*\r?\n(?:[^\n]*\n)*?[ \t]*(?P=mark)(?=[ \t]*,?[ \t]*(?:\r?\n|\Z))/
NUMBER: /-?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+\-]?\d+)?)(?![\w.])/
BOOL: /(?:true|false)(?![\w.\-])/
NULL: /null(?![\w.\-])/

%ignore /[ \t\r\n\f]+/
%ignore /#[^\n]*/
%ignore /\/\/[^\n]*/
%ignore /\/\*[^*]*\*+(?:[^\/*][^*]*\*+)*\//
"""

JSON = r"""
document: value
?value: STRING -> string
      | NUMBER -> number
      | BOOL -> bool
      | NULL -> null
      | list
      | object
list: LSQB [value ("," value)*] "]"
object: LBRACE [item ("," item)*] "}"
item: key COLON value -> attribute
key: STRING

COLON: ":"
LSQB: "["
LBRACE: "{"
STRING: /"(?:[^"\\\n]|\\[^\n])*"/
NUMBER: /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+\-]?\d+)?(?![\w.])/
BOOL: /(?:true|false)(?![\w])/
NULL: /null(?![\w])/

%ignore /[ \t\r\n]+/
"""

WORDS = {
    "IDENT": "a key",
    "STRING": "a string",
    "HEREDOC": "a heredoc",
    "NUMBER": "a number",
    "BOOL": "true or false",
    "NULL": "null",
    "LSQB": "`[`",
    "LBRACE": "`{`",
    "RSQB": "`]`",
    "RBRACE": "`}`",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "COLON": "`:`",
    "$END": "the end of the file",
}
"""Terminals in the words of an error message."""
