package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a request: what the pattern language allows,
// and the few levels above a pattern.
const maxDepth = 160

// Kind is the JSON type of a value.
type Kind int

// The kinds of value.
const (
	Null Kind = iota
	Bool
	Number
	String
	List
	Object
)

func (k Kind) String() string {
	return [...]string{"null", "true or false", "a number", "a string", "a list", "an object"}[k]
}

// Value is one JSON value with what encoding/json drops: the order of members,
// names given twice, and the text as it was sent.
type Value struct {
	Kind    Kind
	Text    string // the text of a string or number
	Raw     []byte // as it was sent: a part of what was parsed
	yes     bool   // the value of a bool
	list    []*Value
	members []member
}

type member struct {
	name  string
	value *Value
}

// Member returns the member of an object that has the name, nil where none does.
func (v *Value) Member(name string) *Value {
	for _, m := range v.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// syntaxError says where a body stops being the JSON that was asked for.
type syntaxError struct {
	offset int // bytes before the fault
	reason string
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("%s at offset %d", e.reason, e.offset)
}

// Parse reads exactly one JSON value. Its error says at which byte the body stops
// being that.
func Parse(body []byte) (*Value, error) {
	if bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
		return nil, &syntaxError{0, "byte order mark"}
	}
	if i := invalidUTF8(body); i >= 0 {
		return nil, &syntaxError{i, "invalid UTF-8"}
	}
	if err := checkSyntax(body); err != nil {
		return nil, err
	}
	p := parser{body: body}
	return p.value(0)
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

func checkSyntax(body []byte) error {
	if json.Valid(body) {
		return nil
	}
	var raw json.RawMessage
	err := json.Unmarshal(body, &raw)
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &syntax):
		return &syntaxError{0, err.Error()}
	case strings.HasPrefix(syntax.Error(), "unexpected end"):
		return &syntaxError{len(body), syntax.Error()}
	default:
		return &syntaxError{max(0, int(syntax.Offset)-1), syntax.Error()}
	}
}

// parser turns text that is known to be JSON into nodes. It goes through it byte
// by byte: each claim and each sweep reads every entry, which would cost ten times
// as much with the tokens of encoding/json.
type parser struct {
	body []byte
	at   int // what comes next
}

// space goes to what is no white space.
func (p *parser) space() {
	for p.at < len(p.body) && strings.IndexByte(" \t\r\n", p.body[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) value(depth int) (*Value, error) {
	p.space()
	start := p.at
	if depth > maxDepth {
		return nil, &syntaxError{start, fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	}
	n := &Value{}
	switch p.body[start] {
	case '{', '[':
		if err := p.container(n, depth); err != nil {
			return nil, err
		}
	case '"':
		n.Kind, n.Text = String, p.text()
	case 't':
		n.Kind, n.yes = Bool, true
		p.at += len("true")
	case 'f':
		n.Kind = Bool
		p.at += len("false")
	case 'n':
		n.Kind = Null
		p.at += len("null")
	default:
		for p.at < len(p.body) && strings.IndexByte("+-.0123456789Ee", p.body[p.at]) >= 0 {
			p.at++
		}
		n.Kind, n.Text = Number, string(p.body[start:p.at])
	}
	n.Raw = p.body[start:p.at]
	return n, nil
}

// text reads a string.
func (p *parser) text() string {
	start, plain := p.at, true
	for p.at++; p.body[p.at] != '"'; p.at++ {
		if p.body[p.at] == '\\' {
			plain = false
			p.at++
		}
	}
	p.at++
	if plain {
		return string(p.body[start+1 : p.at-1])
	}
	var s string
	_ = json.Unmarshal(p.body[start:p.at], &s) // it is known to be JSON
	return s
}

func (p *parser) container(n *Value, depth int) error {
	n.Kind = List
	closing := byte(']')
	if p.body[p.at] == '{' {
		n.Kind, closing = Object, '}'
	}
	p.at++
	for p.space(); p.body[p.at] != closing; p.space() {
		var name string
		if n.Kind == Object {
			name = p.text()
			p.space()
			p.at++ // the colon
		}
		child, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		if n.Kind == Object {
			n.members = append(n.members, member{name, child})
		} else {
			n.list = append(n.list, child)
		}
		if p.space(); p.body[p.at] == ',' {
			p.at++
		}
	}
	p.at++
	return nil
}
