package pattern

import (
	"strconv"
	"strings"
)

// maxFaults bounds an answer to a hopeless pattern; the last fault then says
// that there are more.
const maxFaults = 64

// Fault is one thing that is wrong with a pattern.
type Fault struct {
	// Field is the path from the pattern's root, such as
	// issue.user.login[0].prefix. It is empty for the pattern as a whole. A
	// name that a path could be misread with (dots, brackets, quotes, spaces)
	// is quoted: headers."a.b".
	Field string
	// Reason says what was wanted and what was found.
	Reason string
}

func (f Fault) String() string {
	if f.Field == "" {
		return f.Reason
	}
	return f.Field + ": " + f.Reason
}

// Error reports every fault of a pattern, in the order of the pattern's text.
// JSON that cannot be read is a single fault, as nothing behind it can be
// judged.
type Error struct {
	Faults []Fault
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return "pattern: " + strings.Join(lines, "; ")
}

// joinField appends one key to a path.
func joinField(path, key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\" \t\r\n") {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// joinIndex appends one position of a list to a path.
func joinIndex(path string, i int) string {
	return path + "[" + strconv.Itoa(i) + "]"
}
