// Package pattern decides which events a subscription wants, by what they
// hold: it parses patterns, matches them one at a time or by the thousand, and
// explains why one did not match.
//
// # The language
//
// A pattern is a JSON object of the shape of the document, and every field in
// it must match:
//
//	{
//	  "action": ["opened", "closed"],
//	  "issue": {
//	    "user": {"login": [{"prefix": "Coder"}]},
//	    "comments": [{"numeric": [">=", 0, "<", 10]}]
//	  },
//	  "$or": [{"draft": false}, {"label": [{"exists": true}]}]
//	}
//
// A leaf is a scalar, or a list of alternatives of which one must hold. An
// alternative is a scalar or an object with one operator:
//
//	"x", 1, true, null               that value
//	{"prefix": "x"}                  a string that begins with x
//	{"suffix": "x"}                  a string that ends with x
//	{"equals-ignore-case": "x"}      that string under Unicode simple folding
//	{"wildcard": "a*b"}              a string; * is any run, \* a star, \\ a backslash
//	{"exists": true}                 the field is there, whatever its value
//	{"exists": false}                the field is not there
//	{"anything-but": "x"}            a scalar, but not that one
//	{"anything-but": ["x", 1]}       a scalar, but none of these
//	{"anything-but": {"prefix": "x"}}   a scalar, but no string that begins with x
//	{"anything-but": {"suffix": "x"}}   a scalar, but no string that ends with x
//	{"numeric": [">", 0, "<=", 5]}   a number for which every comparison holds
//
// An operator stands in a list. An object outside a list is always a pattern,
// so {"login": {"prefix": "x"}} asks for a field called prefix.
//
// Values are compared with their type: 1 is not "1", and null matches null
// only, not an absent field. Numbers are compared exactly, however large or
// small: 1 is 1.0 and 1e0, -0 is 0, and 2^53 is not 2^53 + 1. Strings are
// compared by their characters, not by how they were escaped, and without
// Unicode normalisation: a composed é is not e and an accent.
// equals-ignore-case uses simple folding (strings.EqualFold), one character to
// one in every language alike: Σ, σ and ς are equal and so are K and the
// Kelvin sign, but ß and SS are not, nor are i and the dotted İ.
//
// A field name is one key: dots, spaces and stars mean nothing in it. "$or" is
// the only reserved name. Beside other fields, at any level, it is a list of
// patterns of the same level, one of which must match as well.
//
// # Arrays
//
// Where the document holds an array, one of its elements must match. Arrays in
// arrays read as one. The fields of one pattern object, its $or included, must
// hold in the same element:
//
//	{"labels": {"name": "bug", "open": true}}
//
// does not match {"labels": [{"name": "bug", "open": false}, {"name": "ui",
// "open": true}]}. A payload that is an array is matched the same way.
//
// # Absent fields
//
// Only {"exists": false} holds for a field that is not there. In particular
// anything-but wants a scalar to look at: it holds for null, and for an array
// with at least one element that is not excluded, but not for an absent field,
// {} or []. For {"exists": true} null, {} and [] are there.
//
// Below anything that is not an object nothing exists, so {"a": {"b":
// [{"exists": false}]}} matches {}, {"a": 1} and {"a": []}. As one element of
// an array is enough, it also matches {"a": [{"b": 1}, {"c": 2}]}: there is an
// element without b. (EventBridge judges absence over all elements that the
// fields before it, by name, leave in question.)
//
// # Documents
//
// ParsePayload makes patterns over the JSON payload. One never matches an
// event whose payload is not JSON. ParseEvent makes patterns over the event
// document, whose fields are type, stream, subject, store, sequence (a
// number), time (RFC 3339 in UTC, with as many decimals as are needed), id,
// source, headers (an object of strings: names in lower case, first value
// each) and data (the payload). An empty id or source is absent, and so is the
// data of a payload that is not JSON.
//
// A payload is JSON if all of it is one value after RFC 8259 in valid UTF-8,
// nested at most 512 deep. One byte order mark before it is passed over. Of a
// name given twice the last counts. An escaped half of a surrogate pair reads
// as U+FFFD. The payload is read when the first pattern asks for it.
//
// # Faults
//
// A parse reports every fault at once with its path, see Error. Refused are,
// besides what is not in the language: JSON that a payload could not be, half
// surrogate pairs, names given twice, empty patterns and empty lists, unknown
// names at the top of the event document, header names that are not in lower
// case (they could never match), objects where the event document holds only
// scalars, and patterns beyond MaxBytes, MaxDepth or MaxLeaves. A pattern that
// contradicts itself, such as numeric [">", 5, "<", 3], is accepted and never
// matches.
//
// # Cost
//
// Matching one pattern costs at most the product of its size and the
// document's: nothing backtracks, $or is not multiplied out, and the size of a
// number's exponent does not count. That product can still be minutes, so the
// steps are counted, and beyond Budget the verdict is TooCostly. A verdict
// within the budget is never another one because of it.
//
// A payload is scanned in one pass that checks all of it and makes values,
// about 64 bytes each and without a copy of their text, only of what the
// patterns at hand look at. It happens when the first pattern asks, and for
// all patterns of an Index, or of several that share their Paths, once.
//
// An Index files each entry under something that a document must have to match
// it, and tries an entry only where a document has that. Of the leaves of a
// pattern, one is enough; of the alternatives in a leaf and the patterns of a
// $or, each has to be filed. What the alternatives of a leaf are filed under,
// and what it costs to look that up for one value at that path:
//
//	a scalar, numeric "="      the value: a hash of the value
//	equals-ignore-case         the folded text: folding the value, and a hash
//	prefix                     a radix tree: at most the value's length
//	suffix                     the same, read backwards
//	wildcard                   the longer of its ends, as a prefix or suffix
//	numeric                    an interval tree: the depth of the tree, for
//	                           each range around the value
//	exists: true               the path: nothing
//	anything-but               that there is a scalar: nothing
//	wildcard "*x*", prefix ""  that there is a string: nothing
//
// The last three are tried on every document with such a value at the path,
// and a payload pattern that has nothing but exists: false on every document
// with a JSON payload. An entry whose event patterns have nothing else is tried
// always. Where there is a choice, the leaf is taken that the fewest entries
// share, weighed by how telling its kind is, and rather one of the envelope
// than one of the payload. An entry filed in the payload leaves a hint at its
// best leaf of the envelope, if it has one: a payload is read only if a hint
// was met, or an entry has none.
//
// An example. Three entries are added to an empty index, in this order:
//
//	a  payload {"action": ["opened", "closed"], "draft": [{"anything-but": true}]}
//	b  payload {"action": ["opened"], "size": [{"numeric": [">", 100]}]}
//	   event   {"type": ["pull"]}
//	c  event   {"stream": [{"prefix": "github."}]}, payload {"action": ["x"]}
//
// Each is filed under the key set that costs least. That of a is both values of
// action, since anything-but says less. That of b is its type in the envelope,
// though "opened" would be as telling: the payload has a handicap. The same holds
// for c and its prefix. So the index looks like this:
//
//	envelope                        payload
//	├─ type                         └─ action
//	│  └─ = "pull"        → b          ├─ = "opened"  → a
//	└─ stream                          └─ = "closed"  → a
//	   └─ "github." …     → c
//
//	unhinted: 1, as a is filed in the payload and has no key in the envelope
//	residual: none
//
// An event of type "push" in the stream "gitlab.x" meets no key of the envelope. Its
// payload is read all the same, as a is unhinted. If action is "opened" there, a is
// tried, and judged by its whole pattern. Neither b nor c is ever looked at.
//
// To look up a document costs an index time that grows with the document, and
// with the depth of the trees, and once for each entry that may match. What it
// then costs to judge an entry is what the budget bounds, for each by itself. An
// entry that the look-up rules out is not judged, so it is never too costly.
//
// Adding and removing an entry costs its own size, and the depth of the trees.
package pattern
