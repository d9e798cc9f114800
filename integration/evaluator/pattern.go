package evaluator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"unicode/utf8"
)

// parse reads JSON and keeps numbers as they are written. It reports false for
// anything that is not one JSON value in UTF-8.
func parse(data []byte) (any, bool) {
	if !utf8.Valid(data) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	return v, true
}

// parsePattern reads a pattern and refuses what is not in the language.
func parsePattern(raw json.RawMessage) (map[string]any, error) {
	pattern, _ := parse(raw)
	fields, isObject := pattern.(map[string]any)
	if !isObject {
		return nil, fmt.Errorf("%s is no JSON object", raw)
	}
	return fields, checkObject(fields)
}

// elements returns what stands for v: v itself, or where it is an array its
// elements, arrays inside it read as one with it.
func elements(v any) []any {
	list, isList := v.([]any)
	if !isList {
		return []any{v}
	}
	var all []any
	for _, e := range list {
		all = append(all, elements(e)...)
	}
	return all
}

// object reports whether one element of v has all the fields.
func object(fields map[string]any, v any) bool {
	candidates := elements(v)
	if len(candidates) == 0 {
		candidates = []any{nil} // no object, so that nothing exists below it
	}
	for _, candidate := range candidates {
		if allFields(fields, candidate) {
			return true
		}
	}
	return false
}

// allFields reports whether v, which is no array, has all the fields.
func allFields(fields map[string]any, v any) bool {
	members, _ := v.(map[string]any) // below anything else nothing exists
	for name, want := range fields {
		if patterns, isList := want.([]any); name == "$or" && isList {
			if !anyOf(patterns, v) {
				return false
			}
			continue
		}
		have, exists := members[name]
		if !field(want, have, exists) {
			return false
		}
	}
	return true
}

func anyOf(patterns []any, v any) bool {
	for _, p := range patterns {
		if allFields(p.(map[string]any), v) {
			return true
		}
	}
	return false
}

// field reports whether the value of a field is what the pattern wants of it.
func field(want, have any, exists bool) bool {
	switch want := want.(type) {
	case map[string]any:
		return object(want, have) // below what does not exist nothing exists
	case []any:
		for _, alternative := range want {
			if leaf(alternative, have, exists) {
				return true
			}
		}
		return false
	default:
		return leaf(want, have, exists)
	}
}

// leaf reports whether one alternative holds.
func leaf(alternative, have any, exists bool) bool {
	op, operand, isOperator := operator(alternative)
	if isOperator && op == "exists" {
		return exists == operand.(bool)
	}
	if !exists {
		return false
	}
	for _, e := range elements(have) {
		if !isOperator && equal(alternative, e) || isOperator && holds(op, operand, e) {
			return true
		}
	}
	return false
}

// operator takes an object with one operator apart.
func operator(alternative any) (op string, operand any, ok bool) {
	o, isObject := alternative.(map[string]any)
	if !isObject {
		return "", nil, false
	}
	for name, arg := range o {
		op, operand = name, arg
	}
	return op, operand, true
}

// equal compares two scalars. Numbers are compared by value; nothing else is
// ever converted.
func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		n, isNumber := b.(json.Number)
		return isNumber && rational(a).Cmp(rational(n)) == 0
	case string:
		s, isString := b.(string)
		return isString && a == s
	case bool:
		v, isBool := b.(bool)
		return isBool && a == v
	default:
		return a == nil && b == nil
	}
}

func rational(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		panic(fmt.Sprintf("%q came from a JSON decoder and is no number", n)) // cannot be
	}
	return r
}

// holds reports whether an operator other than exists holds for v.
func holds(op string, operand, v any) bool {
	text, isText := v.(string)
	switch op {
	case "prefix":
		return isText && strings.HasPrefix(text, operand.(string))
	case "suffix":
		return isText && strings.HasSuffix(text, operand.(string))
	case "equals-ignore-case":
		return isText && strings.EqualFold(text, operand.(string))
	case "wildcard":
		return isText && wildcard(operand.(string), text)
	case "anything-but":
		return anythingBut(operand, v)
	case "numeric":
		n, isNumber := v.(json.Number)
		return isNumber && inRange(operand.([]any), n)
	}
	panic("operator " + op + " was not checked")
}

// wildcard matches * with any run; \* and \\ are the characters themselves.
func wildcard(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	if pattern[0] == '*' {
		for i := range len(text) + 1 {
			if wildcard(pattern[1:], text[i:]) {
				return true
			}
		}
		return false
	}
	if pattern[0] == '\\' && len(pattern) > 1 {
		pattern = pattern[1:]
	}
	return text != "" && text[0] == pattern[0] && wildcard(pattern[1:], text[1:])
}

// anythingBut holds for scalars that are none of the excluded.
func anythingBut(excluded, v any) bool {
	if _, isObject := v.(map[string]any); isObject {
		return false
	}
	if op, operand, isOperator := operator(excluded); isOperator {
		return !holds(op, operand, v)
	}
	for _, e := range elements(excluded) {
		if equal(e, v) {
			return false
		}
	}
	return true
}

// inRange reports whether every comparison of pairs holds for n.
func inRange(pairs []any, n json.Number) bool {
	for i := 0; i < len(pairs); i += 2 {
		c := rational(n).Cmp(rational(pairs[i+1].(json.Number)))
		ok := map[string]bool{"<": c < 0, "<=": c <= 0, "=": c == 0, ">=": c >= 0, ">": c > 0}[pairs[i].(string)]
		if !ok {
			return false
		}
	}
	return true
}
