package subscription

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// fields collects the faults of one body while its members are read.
type fields struct {
	faults []wire.Fault
	more   int // faults beyond those kept
	// open is set for entries read from KV: unknown members are ignored.
	open bool
	// null is the path of the field, if any, of which null is a value like others.
	null string
}

func (f *fields) fault(path, format string, args ...any) {
	f.refuse(wire.CodeBadField, path, fmt.Sprintf(format, args...))
}

// refuse is fault for a fault of another kind than a wrong field.
func (f *fields) refuse(code wire.ErrCode, path, reason string) {
	if len(f.faults) >= maxReportedFaults {
		f.more++
		return
	}
	f.faults = append(f.faults, wire.Fault{Field: path, Reason: reason, ErrCode: code})
}

// all returns the faults; the last one says how many were left off.
func (f *fields) all() []wire.Fault {
	if f.more == 0 {
		return f.faults
	}
	return append(f.faults, wire.Fault{Reason: fmt.Sprintf("and %d more faults", f.more), ErrCode: wire.CodeBadField})
}

// bad reports whether path, a field around it or one inside it has a fault
// already, so that a rule over its value would only repeat it.
func (f *fields) bad(path string) bool {
	for _, x := range f.faults {
		if within(x.Field, path) || within(path, x.Field) {
			return true
		}
	}
	return false
}

// within reports whether path is outer or lies inside it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// reader reads the value of one member into its place.
type reader func(path string, n *node)

// object reads n's members with the readers; members without one are faults.
// It returns the names that were given.
func (f *fields) object(path string, n *node, readers map[string]reader) map[string]bool {
	given := map[string]bool{}
	if !f.want(path, n, kindObject) {
		return given
	}
	for _, m := range n.members {
		at := join(path, m.name)
		read, known := readers[m.name]
		switch {
		case !known && f.open:
		case !known:
			f.fault(at, "unknown field")
		case given[m.name]:
			f.fault(at, "given twice")
		case m.node.kind == kindNull && (f.null == "" || at != f.null):
			f.fault(at, "must not be null; leave it out for the default")
		default:
			read(at, m.node)
		}
		given[m.name] = given[m.name] || known
	}
	return given
}

func (f *fields) want(path string, n *node, k kind) bool {
	if n.kind != k {
		f.fault(path, "want %s, got %s", k, n.kind)
		return false
	}
	return true
}

func (f *fields) text(into *string) reader {
	return func(path string, n *node) {
		if f.want(path, n, kindString) {
			*into = n.text
		}
	}
}

func (f *fields) yes(into *bool) reader {
	return func(path string, n *node) {
		if f.want(path, n, kindBool) {
			*into = n.yes
		}
	}
}

func (f *fields) whole(into *int) reader {
	return func(path string, n *node) {
		if n.kind != kindNumber {
			f.fault(path, "want a whole number, got %s", n.kind)
			return
		}
		v, err := strconv.Atoi(n.text)
		if err != nil {
			f.fault(path, "want a whole number, got %s", clip(n.text))
			return
		}
		*into = v
	}
}

func (f *fields) count(into *uint64) reader {
	return func(path string, n *node) {
		if n.kind != kindNumber {
			f.fault(path, "want a whole number from 0, got %s", n.kind)
			return
		}
		v, err := strconv.ParseUint(n.text, 10, 64)
		if err != nil {
			f.fault(path, "want a whole number from 0, got %s", clip(n.text))
			return
		}
		*into = v
	}
}

func (f *fields) duration(into *wire.Duration) reader {
	const want = `want a duration such as "1m30s" or whole nanoseconds`
	return func(path string, n *node) {
		var (
			v   time.Duration
			err error
		)
		switch n.kind {
		case kindString:
			v, err = time.ParseDuration(n.text)
		case kindNumber:
			var i int64
			i, err = strconv.ParseInt(n.text, 10, 64)
			v = time.Duration(i)
		default:
			f.fault(path, "%s, got %s", want, n.kind)
			return
		}
		if err != nil {
			f.fault(path, "%s, got %s", want, clip(string(n.raw)))
			return
		}
		*into = wire.Duration(v)
	}
}

func (f *fields) moment(into *time.Time) reader {
	return func(path string, n *node) {
		if n.kind != kindString {
			f.fault(path, "want an RFC 3339 time, got %s", n.kind)
			return
		}
		t, err := time.Parse(time.RFC3339Nano, n.text)
		if y := t.UTC().Year(); err != nil || y < 1 || y > 9999 {
			f.fault(path, "want an RFC 3339 time, got %q", clip(n.text))
			return
		}
		*into = t.UTC()
	}
}

func (f *fields) texts(into *wire.StringList) reader {
	return func(path string, n *node) {
		switch {
		case n.kind == kindString:
			*into = wire.StringList{n.text}
		case n.kind != kindArray:
			f.fault(path, "want a string or a list of strings, got %s", n.kind)
		case len(n.list) == 0:
			f.fault(path, "the list is empty; leave the field out, or name at least one")
		case len(n.list) > MaxListed:
			f.fault(path, "%d entries: want at most %d", len(n.list), MaxListed)
		default:
			list := make(wire.StringList, len(n.list))
			for i, item := range n.list {
				f.text(&list[i])(index(path, i), item)
			}
			*into = list
		}
	}
}

func (f *fields) labels(into *map[string]string) reader {
	return func(path string, n *node) {
		if !f.want(path, n, kindObject) || len(n.members) == 0 {
			return
		}
		m := make(map[string]string, len(n.members))
		for _, x := range n.members {
			at := join(path, x.name)
			if _, twice := m[x.name]; twice {
				f.fault(at, "given twice")
				continue
			}
			var v string
			f.text(&v)(at, x.node)
			m[x.name] = v
		}
		*into = m
	}
}

// clip bounds what a reason repeats of a value that the sender chose.
func clip(s string) string {
	if len(s) > maxNameInPath {
		return strings.ToValidUTF8(s[:maxNameInPath], "") + "…"
	}
	return s
}
