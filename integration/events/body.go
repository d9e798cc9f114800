package events

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// writer appends JSON. It is written out by hand because tens of thousands of
// bodies must be made in a moment, and because an encoder would not write the
// same number in several notations.
type writer struct {
	r   *rand.Rand
	buf []byte
}

// key begins a member; the first one of an object opens it.
func (w *writer) key(name string) *writer {
	if n := len(w.buf); n > 0 && w.buf[n-1] != '{' {
		w.buf = append(w.buf, ',')
	}
	w.buf = strconv.AppendQuote(w.buf, name)
	w.buf = append(w.buf, ':')
	return w
}

func (w *writer) raw(s string)           { w.buf = append(w.buf, s...) }
func (w *writer) str(s string)           { w.buf = strconv.AppendQuote(w.buf, s) } // s is plain ASCII
func (w *writer) int(n int64)            { w.buf = strconv.AppendInt(w.buf, n, 10) }
func (w *writer) bool(b bool)            { w.buf = strconv.AppendBool(w.buf, b) }
func (w *writer) time(t time.Time)       { w.str(t.Format(time.RFC3339Nano)) }
func (w *writer) object(members func())  { w.raw("{"); members(); w.raw("}") }
func (w *writer) words(n int)            { w.raw(`"`); w.buf = appendWords(w.buf, w.r, n); w.raw(`"`) }
func (w *writer) oneOf(values ...string) { w.str(pick(w.r, values)) }

func (w *writer) array(n int, element func(i int)) {
	w.raw("[")
	for i := range n {
		if i > 0 {
			w.raw(",")
		}
		element(i)
	}
	w.raw("]")
}

// number writes a decimal with two places, in one of several notations of the
// same value.
func (w *writer) number(cents int64) {
	switch {
	case cents%100 == 0 && w.r.IntN(2) == 0:
		w.int(cents / 100)
	case cents%10000 == 0 && w.r.IntN(2) == 0:
		w.int(cents / 10000)
		w.raw("e2")
	case w.r.IntN(8) == 0:
		w.int(cents)
		w.raw("E-2")
	default:
		if cents < 0 {
			w.raw("-")
			cents = -cents
		}
		w.int(cents / 100)
		w.raw(".")
		w.int(cents / 10 % 10)
		w.int(cents % 10)
	}
}

// bigID writes an integer about 2^53, where a float64 cannot tell neighbours apart.
func (w *writer) bigID() { w.int(1<<53 + w.r.Int64N(64) - 16) }

// body makes the JSON of an event.
func body(r *rand.Rand, d domain, eventType string, i uint64) []byte {
	want := size(r)
	w := &writer{r: r, buf: make([]byte, 0, want+2048)}
	w.object(func() {
		w.key("id").bigID()
		w.key("number").int(int64(i))
		w.key("action").str(eventType)
		w.key("schema version").raw("2")
		w.key("occurred_at").time(moment(r))
		w.key("actor").object(func() { w.actor() })
		w.key(d.entity).object(func() { w.entity(d) })
		w.key("labels").array(r.IntN(5), func(int) { w.oneOf("urgent", "b2b", "test", "ümlaut-frei", "fragile") })
		w.key("context").object(func() { w.context() })
		w.key("changes").array(r.IntN(4), func(int) { w.object(func() { w.change(d) }) })
		w.key("matrix").array(r.IntN(3), func(int) { w.array(r.IntN(4), func(int) { w.int(int64(r.IntN(10))) }) })
		w.key("note")
		if r.IntN(4) == 0 {
			w.raw("null")
		} else {
			w.words(3 + r.IntN(20))
		}
		w.key(d.items).raw("[")
		for n := 0; len(w.buf) < want; n++ {
			if n > 0 {
				w.raw(",")
			}
			w.object(func() { w.item(n) })
		}
		w.raw("]")
	})
	return w.buf
}

func (w *writer) actor() {
	r := w.r
	w.key("login").str("user-" + strconv.Itoa(r.IntN(500)))
	w.key("name").words(2)
	w.key("admin").bool(r.IntN(10) == 0)
	w.key("email")
	if r.IntN(5) == 0 {
		w.raw("null")
	} else {
		w.str("user" + strconv.Itoa(r.IntN(500)) + "@" + pick(r, []string{"Example.com", "example.org", "firma.test"}))
	}
	w.key("roles").array(r.IntN(4), func(int) { w.oneOf("owner", "editor", "viewer", "bot") })
}

func (w *writer) entity(d domain) {
	r := w.r
	w.key("id").str(d.entity + "-" + strconv.Itoa(r.IntN(10000)))
	w.key("status").oneOf(d.status...)
	w.key("total").object(func() {
		w.key("amount").number(int64(r.IntN(500)) * pick(r, []int64{1, 10, 100, 10000}))
		w.key("currency").oneOf("EUR", "USD", "JPY", "BRL")
	})
	w.key("score").number(int64(r.IntN(2001)) - 1000)
	w.key("owner").object(func() {
		w.key("country").oneOf("DE", "FR", "US", "JP", "BR")
		w.key("vip").bool(r.IntN(5) == 0)
		w.key("address").object(func() {
			w.key("city").words(1)
			w.key("zip.code").str(strconv.Itoa(10000 + r.IntN(90000)))
			w.key("geo").array(2, func(int) { w.number(int64(r.IntN(18000)) - 9000) })
		})
	})
	if r.IntN(3) > 0 { // absent in a third of the events
		w.key("discount")
		if r.IntN(2) == 0 {
			w.raw("null")
		} else {
			w.number(int64(r.IntN(5000)))
		}
	}
	w.key("archived_at").raw("null")
	w.key("extra").raw(pick(r, []string{"{}", "[]", "null", `{"deep":{"deeper":{"deepest":[{"v":1},{"v":null}]}}}`}))
}

func (w *writer) context() {
	r := w.r
	w.key("ip").str("10." + strconv.Itoa(r.IntN(256)) + "." + strconv.Itoa(r.IntN(256)) + ".7")
	w.key("agent").oneOf("curl/8.9.1", "Mozilla/5.0 (X11; Linux x86_64)", "okhttp/4.12.0", "sluice-test")
	w.key("locale").oneOf("de-DE", "en-US", "ja-JP", "pt-BR")
	w.key("flags").object(func() {
		w.key("beta").bool(r.IntN(4) == 0)
		w.key("dark mode").bool(r.IntN(2) == 0)
	})
	w.key("trace").str(strconv.FormatUint(r.Uint64(), 16))
}

func (w *writer) change(d domain) {
	w.key("field").oneOf("status", "total.amount", "owner")
	w.key("from").oneOf(d.status...)
	w.key("to").oneOf(d.status...)
}

func (w *writer) item(n int) {
	r := w.r
	w.key("line").int(int64(n + 1))
	w.key("sku").str("sku-" + strconv.Itoa(r.IntN(300)))
	w.key("quantity").int(int64(1 + r.IntN(12)))
	w.key("price").number(int64(r.IntN(20000)))
	w.key("serial").bigID()
	w.key("tags").array(r.IntN(3), func(int) { w.oneOf("new", "sale", "heavy") })
	w.key("options").array(r.IntN(3), func(int) {
		w.object(func() {
			w.key("name").oneOf("color", "size", "engraving")
			w.key("value").oneOf("red", "XL", "none")
		})
	})
	w.key("title").words(2 + r.IntN(6))
	w.key("returned").raw(pick(r, []string{"null", "true", "false"}))
}

// appendWords appends n words that may stand in a JSON string as they are.
func appendWords(buf []byte, r *rand.Rand, n int) []byte {
	words := [...]string{
		"order", "Straße", "naïve", "東京", "привет", "café", "emoji 🚀", `quote \"x\"`, `escaped \u00e9`,
		`pair \ud83d\ude00`, `tab\t`, `slash\/`, `back\\slash`, "São Paulo", "ένα", "שלום", "plain", "text", "of", "some", "length",
	}
	for i := range n {
		if i > 0 {
			buf = append(buf, ' ')
		}
		buf = append(buf, words[r.IntN(len(words))]...)
	}
	return buf
}

// text makes a body of at least n bytes that is no JSON.
func text(r *rand.Rand, n int) []byte {
	buf := []byte("text: ")
	for len(buf) < n {
		buf = append(appendWords(buf, r, 5), '\n')
	}
	return buf
}
