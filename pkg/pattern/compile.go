package pattern

import (
	"fmt"
	"slices"
	"strings"
)

// eventFields are the fields of the event document.
var eventFields = [...]string{"type", "stream", "subject", "store", "sequence", "time", "id", "source", "headers", "data"}

// scope is where in the document a pattern object stands.
type scope int

const (
	scopeBody     scope = iota // in a JSON payload: any name
	scopeEnvelope              // at the top of the event document
	scopeHeaders               // in its headers
)

// compiler turns a pattern's JSON into clauses and collects every fault.
type compiler struct {
	faults []Fault
	leaves int
}

func (c *compiler) fault(at, format string, args ...any) {
	switch {
	case len(c.faults) < maxFaults-1:
		c.faults = append(c.faults, Fault{at, fmt.Sprintf(format, args...)})
	case len(c.faults) == maxFaults-1:
		c.faults = append(c.faults, Fault{Reason: "more faults follow: mend these first"})
	}
}

// count counts one alternative. Of too many only the first is a fault.
func (c *compiler) count(at string) {
	if c.leaves++; c.leaves == MaxLeaves+1 {
		c.fault(at, "more than %d alternatives in the pattern: split it into several subscriptions", MaxLeaves)
	}
}

func (c *compiler) root(n *node, event bool) *object {
	in := scopeBody
	if event {
		in = scopeEnvelope
	}
	if n.kind != kindObject {
		c.fault("", "want an object, got %s", n.kind.describe())
		return nil
	}
	return c.object(n, "", 1, in)
}

// object compiles a pattern object. Depth counts those around it and itself.
func (c *compiler) object(n *node, at string, depth int, in scope) *object {
	o := new(object)
	if depth > MaxDepth {
		c.fault(at, "nested deeper than %d patterns", MaxDepth)
		return o
	}
	if len(n.kids) == 0 {
		c.empty(at)
		return o
	}
	seen := make(map[string]bool, len(n.kids))
	for i := range n.kids {
		field := &n.kids[i]
		path := joinField(at, field.key)
		if seen[field.key] {
			c.fault(path, "given twice: put the alternatives into one list")
			continue
		}
		seen[field.key] = true
		cl := c.clause(field, path, depth, in)
		o.clauses = append(o.clauses, cl)
		o.data = o.data || cl.data
	}
	slices.SortStableFunc(o.clauses, func(a, b clause) int { return boolCompare(a.data, b.data) })
	return o
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// empty refuses {}: it would hold for everything, which is rarely what was
// meant and is written better by leaving it out.
func (c *compiler) empty(at string) {
	if at == "" {
		c.fault(at, "an empty pattern would match every event: name a field, or leave the pattern out")
		return
	}
	c.fault(at, `an empty pattern says nothing: name a field, or write [{"exists": true}] to ask whether it is there`)
}

func (c *compiler) clause(n *node, at string, depth int, in scope) clause {
	if n.key == "$or" {
		return c.or(n, at, depth, in)
	}
	inner := c.enter(n, at, in)
	cl := clause{name: n.key}
	if in == scopeEnvelope && n.key == "data" {
		cl.envelope, cl.data = true, true
	}
	if n.kind == kindObject {
		cl.object = c.object(n, at, depth+1, inner)
	} else {
		cl.leaf = c.leaf(n, at)
	}
	return cl
}

// enter checks a field's name against where it stands, and returns the scope
// of what is below it.
func (c *compiler) enter(n *node, at string, in scope) scope {
	switch in {
	case scopeEnvelope:
		return c.enterEvent(n, at)
	case scopeHeaders:
		if lower := strings.ToLower(n.key); lower != n.key {
			c.fault(at, "the event document holds header names in lower case: write %q", lower)
		}
		c.scalarOnly(n, at)
	}
	return scopeBody
}

func (c *compiler) enterEvent(n *node, at string) scope {
	switch {
	case n.key == "data":
		return scopeBody
	case n.key == "headers":
		return scopeHeaders
	case !slices.Contains(eventFields[:], n.key):
		c.fault(at, "not a field of the event document: want one of %s or $or; the payload's fields are below data",
			strings.Join(eventFields[:], ", "))
	default:
		c.scalarOnly(n, at)
	}
	return scopeBody
}

// scalarOnly refuses an object where the document never holds one.
func (c *compiler) scalarOnly(n *node, at string) {
	if n.kind == kindObject {
		c.fault(at, `nothing is below this field: want a scalar or a list of alternatives, such as [{"prefix": "a"}]`)
	}
}

// or compiles a $or. Its patterns are tried one after the other on the same
// value, never multiplied out, so nesting them costs only their sum.
func (c *compiler) or(n *node, at string, depth int, in scope) clause {
	cl := clause{name: "$or"}
	if n.kind != kindArray || len(n.kids) == 0 {
		c.fault(at, "want a list of at least one pattern object, got %s", describeList(n))
	}
	if n.kind != kindArray {
		return cl
	}
	for i := range n.kids {
		alternative, path := &n.kids[i], joinIndex(at, i)
		if alternative.kind != kindObject {
			c.fault(path, "want a pattern object, got %s", alternative.kind.describe())
			continue
		}
		o := c.object(alternative, path, depth+1, in)
		cl.any = append(cl.any, o)
		cl.data = cl.data || o.data
	}
	return cl
}

func describeList(n *node) string {
	if n.kind == kindArray && len(n.kids) == 0 {
		return "an empty list"
	}
	return n.kind.describe()
}

// leaf compiles a scalar or a list of alternatives.
func (c *compiler) leaf(n *node, at string) *leaf {
	l := &leaf{want: string(n.appendJSON(nil))}
	if n.kind != kindArray {
		c.count(at)
		l.literals.add(toScalar(n))
		return l
	}
	if len(n.kids) == 0 {
		c.fault(at, "an empty list matches nothing: want at least one alternative")
	}
	for i := range n.kids {
		c.alternative(l, &n.kids[i], joinIndex(at, i))
	}
	return l
}

func (c *compiler) alternative(l *leaf, n *node, at string) {
	switch n.kind {
	case kindArray:
		c.fault(at, "a list in a list: write its members into the outer one")
	case kindObject:
		c.operator(l, n, at)
	default:
		c.count(at)
		l.literals.add(toScalar(n))
	}
}
