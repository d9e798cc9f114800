package subscription

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

// fields reads what users or buckets hold of subscriptions, and judges it.
type fields struct{ strictjson.Decoder }

func newFields() *fields {
	f := new(fields)
	f.Form = f.form
	return f
}

// form reads the members that have a form of their own.
func (f *fields) form(path string, v *strictjson.Value, into any) bool {
	if path == "event.data" { // of an explain: an event may well be null
		*into.(*json.RawMessage) = v.Raw
		return true
	}
	if v.Kind == strictjson.Null {
		return false
	}
	switch into := into.(type) {
	case *wire.Position:
		f.position(path, v, into)
	case *wire.ReplayEnd:
		f.replayEnd(path, v, into)
	case *wire.OrderBy:
		f.orderBy(path, v, into)
	case *wire.Deliver:
		if v.Kind == strictjson.Object && v.Member("subject") == nil && v.Member("http") == nil {
			f.Add(strictjson.Join(path, "subject"), "is required, or http in its place")
		}
		return false
	default:
		return false
	}
	return true
}

func (f *fields) position(path string, v *strictjson.Value, into *wire.Position) {
	switch word, place := f.place(path, v, `"new", "all", `, "new", "all"); word {
	case "new":
		*into = wire.Position{Kind: wire.PositionNew}
	case "all":
		*into = wire.Position{Kind: wire.PositionAll}
	case "sequence", "time":
		*into = place
	}
}

// replayEnd reads where a replay ends.
func (f *fields) replayEnd(path string, v *strictjson.Value, into *wire.ReplayEnd) {
	_, place := f.place(path, v, `"now", `, "now")
	*into = wire.ReplayEnd{Sequence: place.Sequence, Time: place.Time}
}

// place reads a place in a store that is one of some words, or a sequence, or a time.
func (f *fields) place(path string, v *strictjson.Value, want string, words ...string) (word string, place wire.Position) {
	var p struct {
		Sequence uint64    `json:"sequence"`
		Time     time.Time `json:"time"`
	}
	word = f.oneForm(path, v, union{
		want: want + `{"sequence": n} or {"time": RFC 3339}`, words: words, members: &p, either: "sequence", or: "time",
	})
	switch {
	case word == "sequence" && f.sequence(path, p.Sequence):
		place = wire.Position{Kind: wire.PositionSequence, Sequence: p.Sequence}
	case word == "sequence":
		word = ""
	case word == "time":
		place = wire.Position{Kind: wire.PositionTime, Time: p.Time}
	}
	return word, place
}

// sequence finds fault with a sequence that no event of a store can have.
func (f *fields) sequence(path string, seq uint64) bool {
	if seq < 1 || seq > maxSequence {
		f.Add(strictjson.Join(path, "sequence"), "want a whole number from 1 to %d, got %d", uint64(maxSequence), seq)
		return false
	}
	return true
}

func (f *fields) orderBy(path string, v *strictjson.Value, into *wire.OrderBy) {
	var o struct {
		Token  int    `json:"token"`
		Header string `json:"header"`
	}
	switch f.oneForm(path, v, union{
		want:  `"stream", "subject", "none", {"token": n} or {"header": name}`,
		words: []string{"stream", "subject", "none"}, members: &o, either: "token", or: "header",
	}) {
	case "stream":
		*into = wire.OrderBy{Kind: wire.OrderStream}
	case "subject":
		*into = wire.OrderBy{Kind: wire.OrderSubject}
	case "none":
		*into = wire.OrderBy{Kind: wire.OrderNone}
	case "token":
		*into = wire.OrderBy{Kind: wire.OrderToken, Token: o.Token}
	case "header":
		*into = wire.OrderBy{Kind: wire.OrderHeader, Header: o.Header}
	}
}

// union is a value that is one of some words, or an object with one of two members.
type union struct {
	want       string // how it may be written
	words      []string
	members    any // a pointer to a struct that both members are read into
	either, or string
}

var errNoForm = errors.New("it is in no form that is known")

// oneForm reads a union. It returns the word, or the name of the member; "" where
// there was a fault.
func (f *fields) oneForm(path string, v *strictjson.Value, u union) string {
	if v.Kind != strictjson.Object {
		known := slices.Contains(u.words, v.Text)
		err := errNoForm
		if known {
			err = nil
		}
		if f.Is(path, v, u.want, err, strictjson.String) {
			return v.Text
		}
		return ""
	}
	f.Decode(path, v, u.members)
	either, or := f.Given(strictjson.Join(path, u.either)), f.Given(strictjson.Join(path, u.or))
	switch {
	case f.Has(path):
	case either == or:
		f.Add(path, "want %s", u.want)
	case either:
		return u.either
	default:
		return u.or
	}
	return ""
}
