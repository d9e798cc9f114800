package replayer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/sluicehq/sluice/pkg/bus"
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
}{
	{wire.VerbReplayStart, true, noReplays, wire.AdvReplayFailed},
	{wire.VerbReplayList, false, noReplays, ""},
	{wire.VerbReplayGet, true, noSuchReplay, ""},
	{wire.VerbReplayCancel, true, noSuchReplay, ""},
	{wire.VerbParkedList, true, noParked, ""},
	{wire.VerbParkedReplay, true, noParked, wire.AdvReplayFailed},
	{wire.VerbParkedDiscard, true, noParked, wire.AdvReplayFailed},
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
func serveAPI(nc *nats.Conn, ns wire.Namespace, advisor *bus.Advisor) (micro.Service, error) {
	srv, err := micro.AddService(nc, micro.Config{
		Name: ns.MicroName(wire.ServiceReplayer), Version: wire.Version,
		Description: "Sluice: makes sure that no change of a subscription goes unobserved; replays events",
	})
	if err != nil {
		return nil, fmt.Errorf("add micro service: %w", err)
	}
	for _, v := range verbs {
		subject := ns.API(v.verb)
		if v.named {
			subject = ns.API(v.verb, "*")
		}
		err := srv.AddEndpoint(strings.ReplaceAll(v.verb, ".", "-"), micro.HandlerFunc(func(req micro.Request) {
			name := ""
			if v.named {
				name = req.Subject()[len(subject)-1:]
			}
			answer(nc, req, v.verb, name, v.refuse(name), v.advisory, advisor)
		}), micro.WithEndpointSubject(subject))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("add endpoint %s: %w", v.verb, err), srv.Stop())
		}
	}
	return srv, nil
}

// answer sends the error in body and headers, or, where nobody waits for an
// answer, as an advisory.
func answer(nc *nats.Conn, req micro.Request, verb, name string, e *wire.Error, advisory string, advisor *bus.Advisor) {
	if req.Reply() == "" {
		if advisory != "" {
			advisor.Publish(advisory, wire.Advisory{Name: name, Detail: verb + " refused", Error: e})
		}
		return
	}
	_ = bus.Respond(nc, req.Reply(), verb, nil, e) // the requester is gone: nobody to tell
}
