package subscription

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// DecodeExplain reads the body of subscription.explain. The data of an event
// in it is a part of body.
func DecodeExplain(body []byte, name string) (wire.ExplainRequest, *wire.Error) {
	var req wire.ExplainRequest
	tree, bad := requestTree(body)
	if bad != nil {
		return req, bad
	}
	f := fields{null: "event.data"}
	given := f.object("", tree, map[string]reader{
		"sequence": f.count(&req.Sequence),
		"event":    f.explainEvent(&req.Event),
	})
	f.name(name)
	switch {
	case given["sequence"] == given["event"]:
		f.fault("", "want exactly one of sequence and event")
	case given["sequence"] && req.Sequence == 0 && !f.bad("sequence"):
		f.fault("sequence", "want a whole number from 1, got 0")
	}
	return req, f.error()
}

func (f *fields) explainEvent(into **wire.ExplainEvent) reader {
	return func(path string, n *node) {
		var (
			e  wire.ExplainEvent
			at time.Time
		)
		given := f.object(path, n, map[string]reader{
			"subject": f.text(&e.Subject),
			"headers": f.headers(&e.Headers),
			"data":    func(_ string, n *node) { e.Data = json.RawMessage(n.raw) },
			"time":    f.moment(&at),
		})
		if given["time"] {
			e.Time = &at
		}
		switch at := join(path, "subject"); {
		case f.bad(at):
		case !given["subject"]:
			f.fault(at, "is required")
		default:
			f.reason(at, literalFault(e.Subject))
		}
		*into = &e
	}
}

// literalFault says what is wrong with the subject of an event.
func literalFault(subject string) string {
	if reason := subjectFault(subject, MaxFilterLength); reason != "" {
		return reason
	}
	for token := range strings.SplitSeq(subject, ".") {
		if token == "*" || token == ">" {
			return "want a literal subject, without the wildcards * and >"
		}
	}
	return ""
}

// headers reads values by name; one value may stand by itself.
func (f *fields) headers(into *map[string]wire.StringList) reader {
	return func(path string, n *node) {
		if !f.want(path, n, kindObject) {
			return
		}
		h := make(map[string]wire.StringList, len(n.members))
		for _, m := range n.members {
			at := join(path, m.name)
			if _, twice := h[m.name]; twice {
				f.fault(at, "given twice")
				continue
			}
			f.reason(at, headerFault(m.name))
			var values wire.StringList
			f.texts(&values)(at, m.node)
			h[m.name] = values
		}
		*into = h
	}
}
