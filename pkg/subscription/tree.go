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
	text    string // of a string or number
	yes     bool   // of a bool
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
	p := parser{body: body, dec: json.NewDecoder(bytes.NewReader(body))}
	p.dec.UseNumber()
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

// parser turns text that is known to be JSON into nodes.
type parser struct {
	body []byte
	dec  *json.Decoder
}

func (p *parser) value(depth int) (*node, error) {
	start := p.start()
	if depth > maxDepth {
		return nil, &syntaxError{start, fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	}
	tok, err := p.dec.Token()
	if err != nil {
		return nil, &syntaxError{start, err.Error()}
	}
	n := &node{}
	switch v := tok.(type) {
	case nil:
		n.kind = kindNull
	case bool:
		n.kind, n.yes = kindBool, v
	case json.Number:
		n.kind, n.text = kindNumber, v.String()
	case string:
		n.kind, n.text = kindString, v
	case json.Delim:
		if err := p.container(n, v, depth); err != nil {
			return nil, err
		}
	}
	n.raw = p.body[start:p.dec.InputOffset()]
	return n, nil
}

// start returns where the next value begins: the decoder stands behind the
// token before it.
func (p *parser) start() int {
	i := int(p.dec.InputOffset())
	for i < len(p.body) && strings.IndexByte(" \t\r\n:,", p.body[i]) >= 0 {
		i++
	}
	return i
}

func (p *parser) container(n *node, open json.Delim, depth int) error {
	n.kind = kindArray
	if open == '{' {
		n.kind = kindObject
	}
	for p.dec.More() {
		var name string
		if n.kind == kindObject {
			tok, err := p.dec.Token()
			if err != nil {
				return &syntaxError{p.start(), err.Error()}
			}
			name, _ = tok.(string)
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
	}
	if _, err := p.dec.Token(); err != nil {
		return &syntaxError{p.start(), err.Error()}
	}
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
