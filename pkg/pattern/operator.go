package pattern

import "strings"

const operators = "prefix, suffix, equals-ignore-case, wildcard, exists, anything-but, numeric"

// operator compiles an object in a list of alternatives.
func (c *compiler) operator(l *leaf, n *node, at string) {
	if len(n.kids) != 1 {
		c.fault(at, "%d operators in one object: want exactly one of %s; each alternative is an object of its own",
			len(n.kids), operators)
	}
	for i := range n.kids {
		arg := &n.kids[i]
		path := joinField(at, arg.key)
		if arg.key == "exists" {
			c.count(path)
			c.exists(l, arg, path)
			continue
		}
		if t := c.test(arg, path); t != nil {
			l.tests = append(l.tests, t)
		}
	}
}

// test compiles every operator that looks at one scalar. It returns nil if
// there was a fault.
func (c *compiler) test(arg *node, at string) test {
	switch arg.key {
	case "numeric":
		return c.numeric(arg, at)
	case "anything-but":
		return c.anythingBut(arg, at)
	case "prefix", "suffix", "equals-ignore-case", "wildcard":
		c.count(at)
		return c.text(arg, at)
	}
	c.fault(at, "unknown operator: want one of %s; an object that is a pattern stands outside a list", operators)
	return nil
}

func (c *compiler) exists(l *leaf, arg *node, at string) {
	switch arg.kind {
	case kindTrue:
		l.present = true
	case kindFalse:
		l.absent = true
	default:
		c.fault(at, "want true or false, got %s", arg.kind.describe())
	}
}

// text compiles the operators whose argument is a string.
func (c *compiler) text(arg *node, at string) test {
	if arg.kind != kindString {
		c.fault(at, "want a string, got %s", arg.kind.describe())
		return nil
	}
	switch arg.key {
	case "prefix":
		return prefix(arg.text)
	case "suffix":
		return suffix(arg.text)
	case "equals-ignore-case":
		return ignoreCase(arg.text)
	}
	w, err := parseWildcard(arg.text)
	if err != nil {
		c.fault(at, "%v", err)
		return nil
	}
	return w
}

const wantAnythingBut = `want a scalar, a list of scalars, or {"prefix"|"suffix": string}`

func (c *compiler) anythingBut(arg *node, at string) test {
	switch arg.kind {
	case kindObject:
		c.count(at)
		return c.anythingButText(arg, at)
	case kindArray:
		return c.anythingButList(arg, at)
	}
	c.count(at)
	var but anythingBut
	but.set.add(toScalar(arg))
	return but
}

func (c *compiler) anythingButText(arg *node, at string) test {
	if len(arg.kids) != 1 || arg.kids[0].key != "prefix" && arg.kids[0].key != "suffix" {
		c.fault(at, wantAnythingBut)
		return nil
	}
	inner := c.text(&arg.kids[0], joinField(at, arg.kids[0].key))
	if inner == nil {
		return nil
	}
	return anythingBut{test: inner}
}

func (c *compiler) anythingButList(arg *node, at string) test {
	if len(arg.kids) == 0 {
		c.fault(at, "an empty list excludes nothing: %s", wantAnythingBut)
		return nil
	}
	var but anythingBut
	for i := range arg.kids {
		v, path := &arg.kids[i], joinIndex(at, i)
		if !v.kind.scalar() {
			c.fault(path, "want a scalar, got %s", v.kind.describe())
			continue
		}
		c.count(path)
		but.set.add(toScalar(v))
	}
	return but
}

const comparisons = "<, <=, =, >=, >"

// numeric compiles a list of comparisons: an operator and a number by turns.
func (c *compiler) numeric(arg *node, at string) test {
	if arg.kind != kindArray || len(arg.kids) == 0 || len(arg.kids)%2 != 0 {
		c.fault(at, `want a list of comparisons and numbers by turns, such as [">=", 0, "<", 10], got %s`, describePairs(arg))
		return nil
	}
	var all numeric
	for i := 0; i < len(arg.kids); i += 2 {
		c.count(joinIndex(at, i))
		op, num := &arg.kids[i], &arg.kids[i+1]
		if op.kind != kindString || !strings.Contains(", "+comparisons+", ", ", "+op.text+", ") {
			c.fault(joinIndex(at, i), "want one of %s, got %s", comparisons, op.appendJSON(nil))
		}
		if num.kind != kindNumber {
			c.fault(joinIndex(at, i+1), "want a number, got %s", num.kind.describe())
			continue
		}
		all = append(all, comparison{op.text, parseNumber(num.text)})
	}
	return all
}

func describePairs(n *node) string {
	if n.kind == kindArray && len(n.kids)%2 != 0 {
		return "a list of odd length"
	}
	return describeList(n)
}
