package strictjson

import (
	"bytes"
	"math/big"
)

// Same reports whether two texts are the same JSON, however it is written down. Of
// numbers with exponents, and of long ones, the text must be the same.
func Same(a, b []byte) bool {
	x, errX := Parse(a)
	y, errY := Parse(b)
	return errX == nil && errY == nil && x.same(y)
}

func (v *Value) same(w *Value) bool {
	if v.Kind != w.Kind || v.yes != w.yes || len(v.list) != len(w.list) || len(v.members) != len(w.members) {
		return false
	}
	for i := range v.list {
		if !v.list[i].same(w.list[i]) {
			return false
		}
	}
	return v.sameMembers(w) && v.sameText(w)
}

func (v *Value) sameMembers(w *Value) bool {
	byName := make(map[string]*Value, len(w.members))
	for _, m := range w.members {
		byName[m.name] = m.value
	}
	for _, m := range v.members {
		other, ok := byName[m.name]
		if !ok || !m.value.same(other) {
			return false
		}
	}
	return true
}

// maxExactNumber bounds the text of numbers that are compared by value.
const maxExactNumber = 32

func (v *Value) sameText(w *Value) bool {
	if v.Text == w.Text {
		return true
	}
	if v.Kind != Number || bytes.ContainsAny(v.Raw, "eE") || bytes.ContainsAny(w.Raw, "eE") ||
		len(v.Text) > maxExactNumber || len(w.Text) > maxExactNumber {
		return false
	}
	x, okX := new(big.Rat).SetString(v.Text)
	y, okY := new(big.Rat).SetString(w.Text)
	return okX && okY && x.Cmp(y) == 0
}
