package strictjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// MaxTexts is how many strings a wire.StringList may have.
const MaxTexts = 256

// Decoder reads values into Go values, and keeps what is wrong with them. The zero
// value is ready to use.
type Decoder struct {
	Faults
	// Open is for what another version may have written: unknown names are ignored.
	Open bool
	// Form is asked first about each member of an object. It returns true where it
	// has read the member in a way of its own, or found fault with it. Optional.
	Form func(path string, v *Value, into any) bool

	given map[string]bool
}

// Read reads the body of a request, as Decoder.Request does, and has the rules look
// at what was read. Its error names all faults.
func Read(body []byte, optional bool, into any, rules func(*Decoder)) *wire.Error {
	d := new(Decoder)
	if bad := d.Request(body, optional, into); bad != nil {
		return bad
	}
	rules(d)
	return d.Refusal()
}

// Request reads the body of a request, which must be an object, into what into
// points to. An optional body may be empty. The error is that of a body that is not
// JSON; what is wrong with the fields is among the faults.
func (d *Decoder) Request(body []byte, optional bool, into any) *wire.Error {
	if optional && len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	v, err := Parse(body)
	if err == nil && v.Kind != Object {
		err = &syntaxError{bytes.Index(body, v.Raw), "want an object, got " + v.Kind.String()}
	}
	if err != nil {
		e := wire.Errorf(wire.CodeBadJSON, "the body is not the JSON asked for: %s", err)
		e.Details = []wire.Fault{{Reason: err.Error()}}
		return e
	}
	d.Decode("", v, into)
	return nil
}

// Decode reads v, which stands at path, into what into points to. What v does not
// give, or gives wrong, stays there as it is.
func (d *Decoder) Decode(path string, v *Value, into any) {
	d.read(path, v, reflect.ValueOf(into).Elem())
}

// Given reports whether there was a field at path, right or wrong.
func (d *Decoder) Given(path string) bool { return d.given[path] }

// Is reports whether v is of one of the kinds and err, of reading its text, is nil.
// Otherwise it adds the fault that it is not what is wanted.
func (d *Decoder) Is(path string, v *Value, want string, err error, kinds ...Kind) bool {
	switch {
	case !slices.Contains(kinds, v.Kind):
		d.Add(path, "want %s, got %s", want, v.Kind)
	case err != nil:
		d.Add(path, "want %s, got %s", want, Clip(string(v.Raw)))
	default:
		return true
	}
	return false
}

func (d *Decoder) read(path string, v *Value, into reflect.Value) {
	switch p := into.Addr().Interface().(type) {
	case **Value:
		*p = v
	case *json.RawMessage:
		*p = json.RawMessage(v.Raw)
	case *wire.StringList:
		d.texts(path, v, p)
	case *wire.Duration:
		d.duration(path, v, p)
	case *time.Time:
		d.moment(path, v, p)
	default:
		d.readKind(path, v, into)
	}
}

// readKind reads what has no form of its own.
func (d *Decoder) readKind(path string, v *Value, into reflect.Value) {
	switch into.Kind() {
	case reflect.Struct:
		d.object(path, v, into)
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.read(path, v, into.Elem())
	case reflect.Map:
		d.mapped(path, v, into)
	case reflect.Slice, reflect.Array:
		d.list(path, v, into)
	case reflect.String:
		if d.Is(path, v, String.String(), nil, String) {
			into.SetString(v.Text)
		}
	case reflect.Bool:
		if d.Is(path, v, Bool.String(), nil, Bool) {
			into.SetBool(v.yes)
		}
	case reflect.Int:
		if n, err := strconv.Atoi(v.Text); d.Is(path, v, "a whole number", err, Number) {
			into.SetInt(int64(n))
		}
	case reflect.Uint64:
		if n, err := strconv.ParseUint(v.Text, 10, 64); d.Is(path, v, "a whole number from 0", err, Number) {
			into.SetUint(n)
		}
	default:
		panic("strictjson: cannot read into " + into.Type().String())
	}
}

// object reads the members of v that the fields of a struct are for.
func (d *Decoder) object(path string, v *Value, into reflect.Value) {
	if !d.Is(path, v, Object.String(), nil, Object) {
		return
	}
	if d.given == nil {
		d.given = make(map[string]bool, 2*len(v.members))
	}
	fields := fieldsOf(into.Type())
	for _, m := range v.members {
		at := Join(path, m.name)
		field, known := fields[m.name]
		switch {
		case !known && d.Open:
		case !known:
			d.Add(at, "unknown field")
		case d.given[at]:
			d.Add(at, "given twice")
		default:
			d.given[at] = true
			d.member(at, m.value, into.FieldByIndex(field))
		}
	}
}

func (d *Decoder) member(path string, v *Value, into reflect.Value) {
	switch {
	case d.Form != nil && d.Form(path, v, into.Addr().Interface()):
	case v.Kind == Null:
		d.Add(path, "must not be null; leave it out for the default")
	default:
		d.read(path, v, into)
	}
}

// structs has a map[string][]int for each reflect.Type of a struct that was read: its
// fields by their names in JSON. To look for them each time took a third of the time
// of reading an entry, which every claim and every sweep does.
var structs sync.Map

func fieldsOf(t reflect.Type) map[string][]int {
	if known, ok := structs.Load(t); ok {
		return known.(map[string][]int)
	}
	fields := make(map[string][]int)
	for _, f := range reflect.VisibleFields(t) { // those of embedded structs too
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			fields[name] = f.Index
		}
	}
	structs.Store(t, fields)
	return fields
}

// mapped reads the members of v into a map; an object without any leaves it nil.
func (d *Decoder) mapped(path string, v *Value, into reflect.Value) {
	if !d.Is(path, v, Object.String(), nil, Object) || len(v.members) == 0 {
		return
	}
	all := reflect.MakeMapWithSize(into.Type(), len(v.members))
	for _, m := range v.members {
		at, name := Join(path, m.name), reflect.ValueOf(m.name)
		if all.MapIndex(name).IsValid() {
			d.Add(at, "given twice")
			continue
		}
		item := reflect.New(into.Type().Elem()).Elem()
		d.read(at, m.value, item)
		all.SetMapIndex(name, item)
	}
	into.Set(all)
}

// list reads a slice, or an array, which must have as many members.
func (d *Decoder) list(path string, v *Value, into reflect.Value) {
	if !d.Is(path, v, List.String(), nil, List) {
		return
	}
	if into.Kind() == reflect.Slice {
		into.Set(reflect.MakeSlice(into.Type(), len(v.list), len(v.list)))
	}
	if n := into.Len(); n != len(v.list) {
		d.Add(path, "want a list of %d, got one of %d", n, len(v.list))
		return
	}
	for i, item := range v.list {
		d.read(Index(path, i), item, into.Index(i))
	}
}

func (d *Decoder) texts(path string, v *Value, into *wire.StringList) {
	switch {
	case v.Kind == String:
		*into = wire.StringList{v.Text}
	case !d.Is(path, v, "a string or a list of strings", nil, List):
	case len(v.list) == 0:
		d.Add(path, "the list is empty; leave the field out, or name at least one")
	case len(v.list) > MaxTexts:
		d.Add(path, "%d entries: want at most %d", len(v.list), MaxTexts)
	default:
		var list []string
		d.Decode(path, v, &list)
		*into = list
	}
}

func (d *Decoder) duration(path string, v *Value, into *wire.Duration) {
	n, err := strconv.ParseInt(v.Text, 10, 64)
	t := time.Duration(n)
	if v.Kind == String {
		t, err = time.ParseDuration(v.Text)
	}
	if d.Is(path, v, `a duration such as "1m30s" or whole nanoseconds`, err, String, Number) {
		*into = wire.Duration(t)
	}
}

// moment reads a time whose year JSON can say in UTC too.
func (d *Decoder) moment(path string, v *Value, into *time.Time) {
	t, err := time.Parse(time.RFC3339Nano, v.Text)
	if t = t.UTC(); err == nil && (t.Year() < 1 || t.Year() > 9999) {
		err = strconv.ErrRange
	}
	if d.Is(path, v, "an RFC 3339 time", err, String) {
		*into = t
	}
}
