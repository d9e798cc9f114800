package pattern

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	kindNull kind = iota
	kindFalse
	kindTrue
	kindNumber
	kindString
	kindArray
	kindObject
)

// describe names a kind in messages.
func (k kind) describe() string {
	switch k {
	case kindNull:
		return "null"
	case kindFalse:
		return "false"
	case kindTrue:
		return "true"
	case kindNumber:
		return "a number"
	case kindString:
		return "a string"
	case kindArray:
		return "a list"
	}
	return "an object"
}

// scalar reports whether a leaf can hold for a value of this kind.
func (k kind) scalar() bool { return k < kindArray }

// node is one JSON value. A nil *node is a value that is not there.
type node struct {
	kind    kind
	members uint32 // how many members an object has, also those that are not among its kids
	key     string // the name, if the node is a member of an object
	text    string // a string's content, or a number's literal as it was written
	kids    []node // elements or members
}

// linearMembers is the size up to which an object is searched from its end:
// few members of an object are ever asked for, and sorting costs more. The
// members of larger ones are sorted, see seal, so that a large pattern on a
// large object does not cost their product.
const linearMembers = 256

// seal makes members searchable by get. The sort is stable and get takes the
// last of equal names, so of a name given twice the last one counts.
func seal(members []node) {
	if len(members) > linearMembers {
		slices.SortStableFunc(members, func(a, b node) int { return strings.Compare(a.key, b.key) })
	}
}

// get returns the member called key, or nil: also of nil and of anything that
// is not an object, below which nothing exists.
func (n *node) get(key string) *node {
	if n == nil || n.kind != kindObject {
		return nil
	}
	i := len(n.kids) - 1
	if len(n.kids) > linearMembers {
		i = sort.Search(len(n.kids), func(i int) bool { return n.kids[i].key > key }) - 1 // the last that is not after it
	}
	for ; i >= 0; i-- {
		if n.kids[i].key == key {
			return &n.kids[i]
		}
		if len(n.kids) > linearMembers {
			return nil
		}
	}
	return nil
}

// elements yields what a pattern is held against: the elements of an array,
// arrays inside it read as one, or the value itself. It yields nothing for an
// empty array and for a value that is not there.
func (n *node) elements(yield func(*node) bool) bool {
	if n == nil {
		return true
	}
	if n.kind != kindArray {
		return yield(n)
	}
	for i := range n.kids {
		if !n.kids[i].elements(yield) {
			return false
		}
	}
	return true
}

// appendJSON renders n compactly, members in the order they are held.
func (n *node) appendJSON(buf []byte) []byte { return n.appendStart(buf, math.MaxInt) }

// appendStart is appendJSON as far as it matters to who cuts it after so many
// bytes: it does not read a large value to its end.
func (n *node) appendStart(buf []byte, most int) []byte {
	switch n.kind {
	case kindNumber:
		return append(buf, start(n.text, most)...)
	case kindString:
		return appendString(buf, start(n.text, most))
	case kindArray:
		buf = append(buf, '[')
		for i := 0; i < len(n.kids) && len(buf) <= most; i++ {
			buf = n.kids[i].appendStart(comma(buf, i), most)
		}
		return append(buf, ']')
	case kindObject:
		buf = append(buf, '{')
		for i := 0; i < len(n.kids) && len(buf) <= most; i++ {
			buf = appendString(comma(buf, i), start(n.kids[i].key, most))
			buf = n.kids[i].appendStart(append(buf, ':'), most)
		}
		return append(buf, '}')
	}
	return append(buf, n.kind.describe()...) // null, false, true
}

// start is at least the first most bytes of s, with no character broken there.
func start(s string, most int) string {
	if len(s)-utf8.UTFMax > most {
		return s[:most+utf8.UTFMax]
	}
	return s
}

func comma(buf []byte, i int) []byte {
	if i > 0 {
		return append(buf, ',')
	}
	return buf
}

func appendString(buf []byte, s string) []byte {
	if isPlain(s) {
		return append(append(append(buf, '"'), s...), '"')
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes, and a Buffer always takes it
	return append(buf, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// isPlain reports whether JSON has s as it is, as nearly all keys and values.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return true
}
