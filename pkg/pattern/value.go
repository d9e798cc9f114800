package pattern

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
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
	kind kind
	key  string // the name, if the node is a member of an object
	text string // a string's content, or a number's literal as it was written
	kids []node // elements or members
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
		i = lastNotAfter(n.kids, key)
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

// lastNotAfter returns the last position whose key is not greater, or -1.
func lastNotAfter(sorted []node, key string) int {
	lo, hi := 0, len(sorted)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if sorted[mid].key <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
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
func (n *node) appendJSON(buf []byte) []byte {
	switch n.kind {
	case kindNumber:
		return append(buf, n.text...)
	case kindString:
		return appendString(buf, n.text)
	case kindArray:
		buf = append(buf, '[')
		for i := range n.kids {
			buf = n.kids[i].appendJSON(comma(buf, i))
		}
		return append(buf, ']')
	case kindObject:
		buf = append(buf, '{')
		for i := range n.kids {
			buf = appendString(comma(buf, i), n.kids[i].key)
			buf = n.kids[i].appendJSON(append(buf, ':'))
		}
		return append(buf, '}')
	}
	return append(buf, n.kind.describe()...) // null, false, true
}

func comma(buf []byte, i int) []byte {
	if i > 0 {
		return append(buf, ',')
	}
	return buf
}

func appendString(buf []byte, s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes, and a Buffer always takes it
	return append(buf, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}
