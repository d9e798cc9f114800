package subscription

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// MaxParkedSequences is how many sequences a request may name.
	MaxParkedSequences = 1000
	// maxParkedOffset bounds the numbers that a page of the newest is found by.
	maxParkedOffset = 1_000_000
)

// ParkedReason reads a leaf of a pattern over the reason of a park. The pattern
// is one over the payload {"reason": …}.
func ParkedReason(leaf []byte) (*pattern.Pattern, error) {
	raw := append([]byte(`{"reason":`), leaf...)
	return pattern.ParsePayload(append(raw, '}'))
}

// DecodeParkedList reads the optional body of parked.list and fills in the
// defaults.
func DecodeParkedList(body []byte, name string) (wire.ParkedListRequest, *wire.Error) {
	req := wire.ParkedListRequest{Limit: DefaultListLimit, Order: wire.ParkedNewest}
	bad := decode(body, true, &req, func(f *fields) {
		f.Name("name", name)
		f.page(req.Offset, req.Limit)
		if !f.Has("offset") && req.Offset > maxParkedOffset {
			f.Add("offset", "want at most %d, got %d", maxParkedOffset, req.Offset)
		}
		if !f.Has("order") {
			f.OneOf("order", req.Order, wire.ParkedNewest, wire.ParkedOldest)
		}
		f.parkedPatterns("", &req.Match, &req.Reason)
	})
	return req, bad
}

// DecodeParkedDiscard reads the body of parked.discard.
func DecodeParkedDiscard(body []byte, name string) (req wire.ParkedDiscardRequest, bad *wire.Error) {
	bad = decode(body, false, &req, func(f *fields) {
		f.Name("name", name)
		f.choiceRules("", &req.ParkedChoice)
		f.confirmRules(req.Confirm, req.DryRun)
	})
	return req, bad
}

// DecodeParkedReplay reads the body of parked.replay.
func DecodeParkedReplay(body []byte, name string, ns wire.Namespace) (wire.ParkedReplayRequest, *wire.Error) {
	given := struct {
		wire.ParkedReplayRequest
		Deliver wire.Deliver `json:"deliver"`
	}{Deliver: Default().Deliver}
	bad := decode(body, false, &given, func(f *fields) {
		f.Name("name", name)
		f.choiceRules("", &given.ParkedChoice)
		f.confirmRules(given.Confirm, given.DryRun)
		check := f.checker()
		if f.Given("deliver") {
			f.deliverRules(check, &wire.Spec{Deliver: given.Deliver}, ns)
			given.ParkedReplayRequest.Deliver = &given.Deliver
		}
		if f.Given("rate") {
			check("rate", func(p string) { f.between(p, given.Rate, 1, MaxRate) })
		}
	})
	return given.ParkedReplayRequest, bad
}

func (f *fields) confirmRules(confirm string, dryRun bool) {
	switch {
	case len(confirm) > maxConfirm:
		f.Add("confirm", "want what a dry run answered, and no more than that")
	case confirm != "" && dryRun:
		f.Add("confirm", "a dry run needs none: it answers one")
	}
}

// choiceRules judges which parked events are meant. Nothing is no choice: it is
// never taken for all.
func (f *fields) choiceRules(path string, c *wire.ParkedChoice) {
	f.parkedPatterns(path, &c.Match, &c.Reason)
	f.sequences(at(path, "sequences"), c.Sequences)
	if f.Has(at(path, "sequences")) || f.Has(at(path, "all")) {
		return
	}
	ways := 0
	for _, given := range []bool{len(c.Sequences) > 0, c.All, len(c.Match)+len(c.Reason) > 0} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		f.Add(path, `want exactly one of sequences, "all": true, and match or reason or both`)
	}
}

func at(path, name string) string { return strictjson.Join(path, name) }

// sequences judges a list of sequences of a store.
func (f *fields) sequences(path string, list []uint64) {
	switch {
	case f.Has(path):
	case f.Given(path) && len(list) == 0:
		f.Add(path, "the list is empty; name at least one")
	case len(list) > MaxParkedSequences:
		f.Add(path, "%d sequences: want at most %d", len(list), MaxParkedSequences)
	}
	for i, seq := range list {
		if item := strictjson.Index(path, i); seq == 0 && !f.Has(item) {
			f.Add(item, "want a whole number from 1, got 0")
		}
	}
}

// parkedPatterns judges what must hold of an event, and of its reason. They keep no
// memory of the request.
func (f *fields) parkedPatterns(path string, match, reason *json.RawMessage) {
	if !f.Has(at(path, "match")) {
		f.pattern(at(path, "match"), *match, pattern.ParseEvent)
	}
	if !f.Has(at(path, "reason")) {
		f.parkedReason(path, *reason)
	}
	for _, raw := range []*json.RawMessage{match, reason} {
		var b bytes.Buffer
		if len(*raw) > 0 && json.Compact(&b, *raw) == nil {
			*raw = b.Bytes()
		}
	}
}

// parkedReason judges a leaf over reasons. An object alone would ask for what is
// inside the reason, where nothing is.
func (f *fields) parkedReason(path string, leaf json.RawMessage) {
	switch {
	case len(leaf) == 0:
		return
	case leaf[0] != '"' && leaf[0] != '[':
		f.Add(at(path, "reason"), `want a text or a list of alternatives, such as [{"prefix": "no "}]`)
		return
	}
	_, err := ParkedReason(leaf)
	var all *pattern.Error
	switch {
	case errors.As(err, &all):
		for _, x := range all.Faults {
			field := x.Field // which begins with the name
			if path != "" {
				field = inside(path, field)
			}
			f.Add(field, "%s", x.Reason)
		}
	case err != nil:
		f.Add(at(path, "reason"), "%s", err)
	}
}
