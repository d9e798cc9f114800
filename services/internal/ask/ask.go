// Package ask finds out for pools whether anybody listens on their delivery
// subjects.
package ask

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/presence"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/work"
)

const (
	queueSize = 4096 // questions; a pool has two at most, and asks again where there is no room
	workers   = 4    // one that waits for servers that do not tell holds up no other
	together  = 64   // questions that one worker asks at once
)

// Prober asks the servers; a *presence.Prober is one. It must send its probes on
// the connection on which the pools send.
type Prober interface {
	Probe(ctx context.Context, subjects []string) (map[string]presence.Listeners, error)
	Around(ctx context.Context, sendings []presence.Sending) ([][2]presence.Listeners, error)
}

// Asker asks the servers, for all pools of an instance. What is added to it is
// answered by Run.
type Asker struct {
	*work.Queue[pool.Question]
	prober Prober
	log    zerolog.Logger
}

// New returns an asker that asks nothing before Run.
func New(p Prober, log zerolog.Logger) *Asker {
	a := &Asker{prober: p, log: log}
	a.Queue = work.NewQueue(queueSize, workers, together, a.answer)
	return a
}

// answer looks who listens, and has what somebody may receive sent.
func (a *Asker) answer(ctx context.Context, qs []pool.Question) {
	subjects := make([]string, len(qs))
	for i, q := range qs {
		subjects[i] = q.Subject
	}
	found, err := a.prober.Probe(ctx, subjects)
	if err != nil {
		a.log.Debug().Err(err).Msg("who listens not asked")
		found = nil
	}
	var sure []pool.Question
	for _, q := range qs {
		l := found[q.Subject]
		t := judge(l, q.Target)
		switch {
		case q.Send == nil || t.Who == core.Nobody:
			q.Told(t)
		case t.Who == core.Unknown:
			q.Send()
			q.Told(t)
		default:
			sure = append(sure, q)
		}
	}
	if len(sure) > 0 {
		a.sendAround(ctx, sure)
	}
}

// sendAround has messages sent that somebody will probably receive, and tells
// whether somebody did.
func (a *Asker) sendAround(ctx context.Context, qs []pool.Question) {
	sendings := make([]presence.Sending, len(qs))
	for i, q := range qs {
		sendings[i] = presence.Sending{Subject: q.Subject, Send: q.Send}
	}
	found, err := a.prober.Around(ctx, sendings)
	if err != nil {
		a.log.Debug().Err(err).Msg("who listens not asked")
	}
	for i, q := range qs {
		var t core.Told // what was not looked at is not known
		if i < len(found) {
			t = both(judge(found[i][0], q.Target), judge(found[i][1], q.Target))
		}
		q.Told(t)
	}
}

// both is what two looks say together: somebody only if they agree on it.
func both(before, behind core.Told) core.Told {
	if before.Who == core.Somebody || behind.Who == core.Nobody {
		return behind
	}
	return before
}

// judge says whether anybody listens, and in words what is odd about it.
func judge(l presence.Listeners, target string) core.Told {
	switch {
	case l.None(target) && len(l.Streams) > 0:
		return core.Told{Who: core.Nobody, Why: fmt.Sprintf("what is sent there is stored by %s, which is not named in deliver.stream",
			strings.Join(l.Streams, ", "))}
	case l.None(target):
		return core.Told{Who: core.Nobody}
	case l.Subscriptions > 0, target != "" && slices.Contains(l.Streams, target):
		return core.Told{Who: core.Somebody}
	}
	return core.Told{Who: core.Unknown, Why: "not confirmed: " + cmp.Or(l.Reason, "it could not be asked")}
}
