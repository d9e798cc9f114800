package selector

import (
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
)

// attributePrefix begins the headers of CloudEvents' attributes, in any case.
const attributePrefix = "ce-"

// attribute returns the value of a CloudEvents attribute. It is encoded where
// the event says that it is a CloudEvent, and taken as it stands where not.
func attribute(h nats.Header, name string) string {
	v, _ := lookup(h, name)
	if encoded(v) && isCloudEvent(h) {
		return decode(v)
	}
	return v
}

func isCloudEvent(h nats.Header) bool {
	_, is := lookup(h, wire.HeaderCESpecVersion)
	return is
}

// headers yields what patterns see of the headers.
func headers(h nats.Header) iter.Seq2[string, string] {
	all := pattern.HeadersOf(h)
	if !isCloudEvent(h) {
		return all
	}
	return func(yield func(string, string) bool) {
		for name, v := range all {
			if len(name) > len(attributePrefix) && strings.EqualFold(name[:len(attributePrefix)], attributePrefix) {
				v = decode(v)
			}
			if !yield(name, v) {
				return
			}
		}
	}
}

// encoded reports whether decode could change a value.
func encoded(v string) bool { return strings.ContainsAny(v, `%"`) }

// decode reads an attribute's value as section 3.1.3.2 of CloudEvents' NATS
// binding says: quotes around it go, which older versions of it allowed, and
// then percent-encoding, once. A run of escapes that is no UTF-8, and what is no
// escape, stays as it is: what somebody else meant is not ours to drop.
func decode(v string) string {
	if !encoded(v) {
		return v
	}
	v = unquote(v)
	var out strings.Builder
	for {
		at := strings.IndexByte(v, '%')
		if at < 0 {
			out.WriteString(v)
			return out.String()
		}
		out.WriteString(v[:at])
		v = v[at:]
		run := escapes(v)
		size := max(3*len(run), 1) // a percent sign alone is one byte
		if len(run) > 0 && utf8.Valid(run) {
			out.Write(run)
		} else {
			out.WriteString(v[:size])
		}
		v = v[size:]
	}
}

// escapes decodes the run of percent escapes that v begins with.
func escapes(v string) (run []byte) {
	for len(v) >= 3 && v[0] == '%' {
		b, err := strconv.ParseUint(v[1:3], 16, 8)
		if err != nil {
			break
		}
		run = append(run, byte(b))
		v = v[3:]
	}
	return run
}

// unquote undoes a quoted string (RFC 7230, section 3.2.6); what is none stays.
func unquote(v string) string {
	if len(v) < 2 || v[0] != '"' {
		return v
	}
	var out strings.Builder
	for i := 1; i < len(v); i++ {
		switch {
		case v[i] == '"' && i == len(v)-1:
			return out.String()
		case v[i] == '"', v[i] == '\\' && i >= len(v)-2:
			return v
		case v[i] == '\\':
			i++
		}
		out.WriteByte(v[i])
	}
	return v
}
