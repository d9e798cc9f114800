package pattern

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Bounds of an explanation: it is for people, and a payload may be large.
const (
	maxReasons  = 64
	maxElements = 16 // how many objects of an array are looked at for the closest one
	maxQuote    = 120
)

// Reason says why one part of a pattern did not hold.
type Reason struct {
	// Path is where in the document, such as issue.comments[2].user, empty
	// for the document as a whole. Names are quoted as in Fault.Field.
	Path string
	// Want is what the pattern asks for there: its own JSON, cut if long.
	Want string
	// Found is what the document holds there: its JSON, cut if long, or that
	// there is nothing.
	Found string
}

func (r Reason) String() string {
	path := r.Path
	if path == "" {
		path = "(document)"
	}
	return fmt.Sprintf("%s: want %s, found %s", path, r.Want, r.Found)
}

// ErrTooCostly says that an explanation would have taken too many steps.
var ErrTooCostly = errors.New("too costly to explain")

// Explain returns why the pattern does not hold for the document: every field
// that fails, and nothing if it matches. Where no element of an array matches,
// the reasons are those of the one that comes closest among the first 16; where
// no pattern of a $or matches, those of the $or as a whole and then of its
// closest pattern. It is ErrTooCostly if that takes more than so many steps,
// which are those of Judge and one for each path that is written down.
func (p *Pattern) Explain(d *Document, steps int) ([]Reason, error) {
	if p.root == nil {
		return []Reason{{Want: "a pattern", Found: "the zero Pattern, which matches nothing"}}, nil
	}
	v := &view{doc: d, left: steps} // what is found is shown whole
	why := p.explain(v)
	if v.left < 0 {
		return nil, ErrTooCostly
	}
	return why, nil
}

func (p *Pattern) explain(v *view) []Reason {
	if p.event {
		return p.root.explain(v, v.envelope(), "")
	}
	body := v.payload()
	if body == nil {
		return v.noPayload("")
	}
	return p.root.explainMatch(v, body, "")
}

// explainMatch is match with reasons.
func (o *object) explainMatch(d *view, v *node, at string) []Reason {
	if v == nil || v.kind != kindArray {
		return o.explain(d, v, at)
	}
	if o.match(d, v) {
		return nil
	}
	var (
		closest []Reason
		seen    int
		where   []int
	)
	v.elementsAt(&where, func(e *node) bool {
		path := at
		for _, i := range where {
			if !d.spend(1 + scanned(len(path))) {
				return false
			}
			path = joinIndex(path, i)
		}
		why := o.explain(d, e, path)
		if seen == 0 || len(why) < len(closest) {
			closest = why
		}
		seen++
		return seen < maxElements
	})
	if seen == 0 {
		return o.explain(d, nil, at)
	}
	return closest
}

// elementsAt is elements with the position, in each array on the way, of the
// one that is yielded. Where is empty before and after, unless yield ends it.
func (n *node) elementsAt(where *[]int, yield func(*node) bool) bool {
	if n.kind != kindArray {
		return yield(n)
	}
	depth := len(*where)
	*where = append(*where, 0)
	for i := range n.kids {
		(*where)[depth] = i
		if !n.kids[i].elementsAt(where, yield) {
			return false
		}
	}
	*where = (*where)[:depth]
	return true
}

// noPayload is the reason where a payload is asked for that is not JSON.
func (v *view) noPayload(at string) []Reason {
	return []Reason{{at, "a JSON payload", v.payloadError().Error()}}
}

// explain is holds with reasons.
func (o *object) explain(d *view, v *node, at string) []Reason {
	var why []Reason
	for i := range o.clauses {
		why = append(why, o.clauses[i].explain(d, v, at)...)
		if len(why) >= maxReasons {
			return why[:maxReasons]
		}
	}
	return why
}

func (c *clause) explain(d *view, v *node, at string) []Reason {
	if c.any != nil {
		return c.explainAny(d, v, at)
	}
	if !d.spend(1 + scanned(len(at)+len(c.name))) {
		return nil
	}
	member, path := c.member(d, v), joinField(at, c.name)
	if c.envelope && member == nil && !c.holds(d, v) {
		return d.noPayload(path)
	}
	if c.object != nil {
		return c.object.explainMatch(d, member, path)
	}
	if c.leaf.match(d, member) {
		return nil
	}
	return []Reason{{path, cut(c.leaf.want), found(member)}}
}

func (c *clause) explainAny(d *view, v *node, at string) []Reason {
	var closest []Reason
	for i, o := range c.any {
		why := o.explain(d, v, at)
		if len(why) == 0 || d.left < 0 {
			return nil
		}
		if i == 0 || len(why) < len(closest) {
			closest = why
		}
	}
	whole := Reason{joinField(at, "$or"), fmt.Sprintf("one of %d patterns", len(c.any)), "none that holds"}
	return append([]Reason{whole}, closest...)
}

func found(v *node) string {
	if v == nil {
		return "nothing"
	}
	if n := v.size(maxQuote); n >= maxQuote {
		return fmt.Sprintf("%s of %d members", v.kind.describe(), len(v.kids))
	}
	return cut(string(v.appendStart(nil, maxQuote)))
}

// size counts the values in n, up to limit.
func (n *node) size(limit int) int {
	total := 1
	for i := range n.kids {
		if total >= limit {
			break
		}
		total += n.kids[i].size(limit - total)
	}
	return total
}

// cut shortens s without breaking a character.
func cut(s string) string {
	if len(s) <= maxQuote {
		return s
	}
	end := maxQuote
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
