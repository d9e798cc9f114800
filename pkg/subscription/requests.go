package subscription

import "github.com/sluicehq/sluice/pkg/wire"

// Limits of a list.
const (
	DefaultListLimit = 256
	MaxListLimit     = 1000
)

// DecodeEmpty reads the body of a request that has no fields: nothing, or {}.
func DecodeEmpty(body []byte, name string) *wire.Error {
	return decodeNamed(body, name, false, func(*fields) map[string]reader { return nil })
}

// DecodeUnsubscribe reads the optional body of unsubscribe.
func DecodeUnsubscribe(body []byte, name string) (wire.UnsubscribeRequest, *wire.Error) {
	var req wire.UnsubscribeRequest
	err := decodeNamed(body, name, false, func(f *fields) map[string]reader {
		return map[string]reader{"if_revision": func(path string, n *node) {
			req.IfRevision = new(uint64)
			f.count(req.IfRevision)(path, n)
		}}
	})
	return req, err
}

// DecodeSeek reads the body of subscription.seek.
func DecodeSeek(body []byte, name string) (wire.SeekRequest, *wire.Error) {
	var (
		req wire.SeekRequest
		to  bool
	)
	err := decodeNamed(body, name, true, func(f *fields) map[string]reader {
		return map[string]reader{
			"to": func(path string, n *node) {
				to = true
				f.position(&req.To)(path, n)
			},
			"dry_run": f.yes(&req.DryRun),
		}
	}, func(f *fields) {
		if !to && !f.bad("to") {
			f.fault("to", "is required")
		}
	})
	return req, err
}

// DecodeList reads the optional body of subscription.list and fills in the
// default limit.
func DecodeList(body []byte) (wire.ListRequest, *wire.Error) {
	req := wire.ListRequest{Limit: DefaultListLimit}
	err := decodeBody(body, false, func(f *fields) map[string]reader {
		return map[string]reader{
			"store":  f.text(&req.Store),
			"labels": f.labels(&req.Labels),
			"state":  f.text(&req.State),
			"offset": f.whole(&req.Offset),
			"limit":  f.whole(&req.Limit),
		}
	}, func(f *fields) { f.listRules(req) })
	return req, err
}

// listedStates are the words that filter a list by state.
var listedStates = []string{
	wire.StateUnclaimed, string(wire.PoolCatchingUp), string(wire.PoolLive), string(wire.PoolWaiting),
	string(wire.PoolBreakerOpen), string(wire.PoolBlocked), string(wire.PoolPaused),
	string(wire.PoolNotBegun), string(wire.PoolNoReader),
	string(wire.PoolStoreLost), string(wire.PoolReleased),
}

func (f *fields) listRules(req wire.ListRequest) {
	f.page(req.Offset, req.Limit)
	if req.State != "" && !f.bad("state") {
		f.oneOf("state", req.State, listedStates...)
	}
}

// page judges which page of a list is asked for.
func (f *fields) page(offset, limit int) {
	if offset < 0 && !f.bad("offset") {
		f.fault("offset", "want a whole number from 0, got %d", offset)
	}
	if !f.bad("limit") {
		f.between("limit", limit, 1, MaxListLimit)
	}
}

// decodeNamed reads a body of a request about name.
func decodeNamed(body []byte, name string, required bool, readers func(*fields) map[string]reader, rules ...func(*fields)) *wire.Error {
	check := func(f *fields) {
		f.name(name)
	}
	return decodeBody(body, required, readers, append(rules, check)...)
}

// decodeBody reads an object with the readers, then applies the rules, and
// returns all faults together. A body that is not required may be empty.
func decodeBody(body []byte, required bool, readers func(*fields) map[string]reader, rules ...func(*fields)) *wire.Error {
	var f fields
	if len(body) > 0 || required {
		tree, bad := requestTree(body)
		if bad != nil {
			return bad
		}
		f.object("", tree, readers(&f))
	}
	for _, rule := range rules {
		rule(&f)
	}
	return f.error()
}
