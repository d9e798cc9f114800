package strictjson

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/pkg/wire"
)

// MaxFaults bounds the faults that are kept of one body. The rest is counted.
const MaxFaults = 100

// Faults are what is wrong with one body. The zero value has none.
type Faults struct {
	kept []wire.Fault
	more int
}

// Add adds a fault of the field at path.
func (f *Faults) Add(path, format string, args ...any) {
	f.Refuse(wire.CodeBadField, path, fmt.Sprintf(format, args...))
}

// Refuse is Add for a fault of another kind than a wrong field.
func (f *Faults) Refuse(code wire.ErrCode, path, reason string) {
	if len(f.kept) >= MaxFaults {
		f.more++
		return
	}
	f.kept = append(f.kept, wire.Fault{Field: path, Reason: reason, ErrCode: code})
}

// Name finds fault with a name that no subscription can have.
func (f *Faults) Name(path, name string) {
	if !wire.ValidName(name) {
		f.Add(path, "want 1 to 64 characters of A-Z, a-z, 0-9, _ and -, got %q", Clip(name))
	}
}

// OneOf finds fault with a text that is none of the words.
func (f *Faults) OneOf(path, v string, words ...string) {
	if !slices.Contains(words, v) {
		f.Add(path, "want %s, got %q", strings.Join(words, " or "), Clip(v))
	}
}

// Has reports whether path, a field around it or one inside it has a fault
// already, so that a rule over its value would only repeat it.
func (f *Faults) Has(path string) bool {
	for _, x := range f.kept {
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

// All returns the faults; the last one says how many were left off.
func (f *Faults) All() []wire.Fault {
	if f.more == 0 {
		return f.kept
	}
	return append(f.kept, wire.Fault{Reason: fmt.Sprintf("and %d more faults", f.more), ErrCode: wire.CodeBadField})
}

// Refusal is the error of a request that has these faults, nil where there are none.
func (f *Faults) Refusal() *wire.Error { return Refusal(f.All()) }

// maxShown bounds, in bytes, what is repeated of a text that the sender chose.
const maxShown = 64

// Clip shortens s to what a reason may repeat of it.
func Clip(s string) string {
	if len(s) > maxShown {
		return strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}

// Join appends a member's name to a path.
func Join(path, name string) string {
	if name = Clip(name); name == "" || strings.ContainsFunc(name, oddInPath) {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

func oddInPath(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`.[]"`, r) }

// Index appends a place in a list to a path.
func Index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
