package subscription

import (
	"bytes"
	"encoding/json"

	"github.com/sluicehq/sluice/pkg/wire"
)

// DecodeSubscribe reads the body of a subscribe request for name and fills in
// the defaults. Its error names every fault: CodeBadJSON where the body is not
// JSON, CodeBadDelivery where only the delivery subject is wrong, else
// CodeBadField. Where fields are wrong the request has those that are right.
// The request holds no memory of body.
func DecodeSubscribe(body []byte, name string, ns wire.Namespace) (wire.SubscribeRequest, *wire.Error) {
	req := wire.SubscribeRequest{Spec: Default()}
	tree, bad := requestTree(body)
	if bad != nil {
		return wire.SubscribeRequest{}, bad
	}
	var f fields
	readers := f.spec(&req.Spec)
	var rev uint64
	readers["if_revision"] = f.count(&rev)
	readers["restart"] = f.yes(&req.Restart)
	given := f.object("", tree, readers)
	if given["if_revision"] {
		req.IfRevision = &rev
	}
	f.required(given)
	f.validate(name, &req.Spec, ns)
	compactPatterns(&req.Selector)
	return req, f.error()
}

// required adds a fault for what has no default and was not given at all. The
// members of selector have a rule of their own.
func (f *fields) required(given map[string]bool) {
	for _, name := range []string{"store", "selector", "deliver"} {
		if !given[name] {
			f.fault(name, "is required")
		}
	}
}

// error returns the error for the faults, nil where there are none.
func (f *fields) error() *wire.Error { return Refusal(f.all()) }

// requestTree parses a request's body, which must be an object.
func requestTree(body []byte) (*node, *wire.Error) {
	tree, err := parseTree(body)
	switch {
	case err != nil:
	case tree.kind != kindObject:
		err = &syntaxError{bytes.Index(body, tree.raw), "want an object, got " + tree.kind.String()}
	default:
		return tree, nil
	}
	e := wire.Errorf(wire.CodeBadJSON, "the body is not the JSON asked for: %s", err)
	e.Details = []wire.Fault{{Reason: err.Error()}}
	return nil, e
}

// compactPatterns drops insignificant white space, and with it the hold on
// the request's memory.
func compactPatterns(s *wire.Selector) {
	for _, raw := range []*json.RawMessage{&s.ByEventPattern, &s.ByEventPayload} {
		if len(*raw) == 0 {
			continue
		}
		var b bytes.Buffer
		if json.Compact(&b, *raw) == nil {
			*raw = b.Bytes()
		}
	}
}
