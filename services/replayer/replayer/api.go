package replayer

import (
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/wire"
)

// verbs of the replayer, none of which this version carries out.
var verbs = []struct {
	verb string
	// named: the subject ends with a name or an id.
	named bool
	// refuse returns the answer for that name or id.
	refuse func(name string) *wire.Error
	// advisory tells the outcome of a request that has no reply subject.
	advisory string
	does     string
}{
	{wire.VerbReplayStart, true, noReplays, wire.AdvReplayFailed, "replay events of a store (not in this version)"},
	{wire.VerbReplayList, false, noReplays, "", "list replays (not in this version)"},
	{wire.VerbReplayGet, true, noSuchReplay, "", "show a replay (not in this version)"},
	{wire.VerbReplayCancel, true, noSuchReplay, "", "end a replay (not in this version)"},
	{wire.VerbParkedList, true, noParked, "", "list parked events (not in this version)"},
	{wire.VerbParkedReplay, true, noParked, wire.AdvReplayFailed, "deliver parked events again (not in this version)"},
	{wire.VerbParkedDiscard, true, noParked, wire.AdvReplayFailed, "discard parked events (not in this version)"},
}

func noReplays(string) *wire.Error {
	return wire.Errorf(wire.CodeNotYetSupported, "this version does not replay on demand yet")
}

func noParked(string) *wire.Error {
	return wire.Errorf(wire.CodeNotYetSupported, "this version does not list, replay or discard parked events yet")
}

func noSuchReplay(id string) *wire.Error {
	if len(id) > 64 {
		id = id[:64] + "…"
	}
	return wire.Errorf(wire.CodeNoReplay, "no such replay: %q", id)
}

// serveAPI answers requests until the service returned is stopped.
func serveAPI(nc *nats.Conn, cfg endpoint.Config, advisor *bus.Advisor) (*endpoint.Service, error) {
	endpoints := make([]endpoint.Endpoint, 0, len(verbs))
	for _, v := range verbs {
		subject := cfg.Namespace.API(v.verb)
		if v.named {
			subject = cfg.Namespace.API(v.verb, "*")
		}
		endpoints = append(endpoints, endpoint.Endpoint{
			Name: strings.ReplaceAll(v.verb, ".", "-"), Subject: subject, Verb: v.verb, Description: v.does,
			Handle: func(r *endpoint.Request) {
				name := ""
				if v.named {
					name = r.Subject[len(subject)-1:]
				}
				answer(r, v.refuse(name), refusal{verb: v.verb, name: name, advisory: v.advisory, advisor: advisor})
			},
		})
	}
	return endpoint.Serve(nc, cfg, endpoints...)
}

// refusal is how a request that nobody waits for is told that it was refused.
type refusal struct {
	verb, name, advisory string
	advisor              *bus.Advisor
}

// answer ends a request that is refused.
func answer(r *endpoint.Request, e *wire.Error, to refusal) {
	if r.Silent() && to.advisory != "" {
		to.advisor.Publish(to.advisory, wire.Advisory{Name: to.name, Detail: to.verb + " refused", Error: e})
	}
	_ = r.Answer(nil, e) // the requester is gone: nobody to tell
}
