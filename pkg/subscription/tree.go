package subscription

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a request: what the pattern language allows,
// and the few levels above a pattern.
const maxDepth = 160

// kind is the JSON type of a node.
type kind int

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "true or false", "a number", "a string", "a list", "an object"}[k]
}

// node is one JSON value with what encoding/json drops: the order of members,
// names given twice, and the text as it was sent.
type node struct {
	kind    kind
	text    string // the text of a string or number
	yes     bool   // the value of a bool
	list    []*node
	members []member
	raw     []byte
}

type member struct {
	name string
	node *node
}

// syntaxError says where a body stops being the JSON that was asked for.
type syntaxError struct {
	offset int // bytes before the fault
	reason string
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("%s at offset %d", e.reason, e.offset)
}

// parseTree reads exactly one JSON value.
func parseTree(body []byte) (*node, error) {
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

func (p *parser) value(depth int) (*node, error) {
	p.space()
	start := p.at
	if depth > maxDepth {
		return nil, &syntaxError{start, fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	}
	n := &node{}
	switch p.body[start] {
	case '{', '[':
		if err := p.container(n, depth); err != nil {
			return nil, err
		}
	case '"':
		n.kind, n.text = kindString, p.text()
	case 't':
		n.kind, n.yes = kindBool, true
		p.at += len("true")
	case 'f':
		n.kind = kindBool
		p.at += len("false")
	case 'n':
		n.kind = kindNull
		p.at += len("null")
	default:
		for p.at < len(p.body) && strings.IndexByte("+-.0123456789Ee", p.body[p.at]) >= 0 {
			p.at++
		}
		n.kind, n.text = kindNumber, string(p.body[start:p.at])
	}
	n.raw = p.body[start:p.at]
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

func (p *parser) container(n *node, depth int) error {
	n.kind = kindArray
	closing := byte(']')
	if p.body[p.at] == '{' {
		n.kind, closing = kindObject, '}'
	}
	p.at++
	for p.space(); p.body[p.at] != closing; p.space() {
		var name string
		if n.kind == kindObject {
			name = p.text()
			p.space()
			p.at++ // the colon
		}
		child, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		if n.kind == kindObject {
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

// maxNameInPath bounds what a path repeats of a name that the sender chose.
const maxNameInPath = 64

// join appends a member's name to a path.
func join(path, name string) string {
	if len(name) > maxNameInPath {
		name = strings.ToValidUTF8(name[:maxNameInPath], "") + "…"
	}
	if name == "" || strings.ContainsFunc(name, oddInPath) {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

func oddInPath(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`.[]"`, r) }

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
