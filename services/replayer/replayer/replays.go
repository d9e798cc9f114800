package replayer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/jobs"
	"github.com/sluicehq/sluice/services/replayer/internal/player"
	"github.com/sluicehq/sluice/services/replayer/internal/preview"
)

// start begins a replay, or says what it would deliver.
func (a *api) start(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeReplay(r.body, r.name, a.ns)
	rec, _, err := a.records.Get(ctx, r.name)
	switch {
	case bad != nil && (err != nil || len(bad.Details) == 0 || bad.ErrCode == wire.CodeBadJSON):
		return nil, bad
	case err != nil:
		return nil, failed(r, err)
	}
	if bad = a.checkTarget(ctx, r, &req, rec, bad); bad != nil {
		return nil, bad
	}
	answer, err := a.startChecked(ctx, r, &req, rec)
	if err != nil {
		return nil, failed(r, err)
	}
	return answer, nil
}

// checkTarget adds to the faults of a request those that only JetStream can tell.
func (a *api) checkTarget(ctx context.Context, r *request, req *wire.ReplayRequest, rec *wire.Record, bad *wire.Error) *wire.Error {
	to := rec.Spec.Deliver
	if req.Deliver != nil {
		to = *req.Deliver
	}
	t, err := subscription.LookAt(ctx, a.js, rec.Spec.Store, to.Stream)
	switch {
	case err != nil && bad != nil:
		return bad
	case err != nil:
		return failed(r, err)
	}
	faults := t.Faults(rec.Spec.Store, to)
	if to.HTTP != nil {
		faults = append(faults, wire.Fault{Field: "deliver", ErrCode: wire.CodeBadField, Reason: "this version replays to subjects only: name one as deliver.subject"})
	}
	if len(t.Origins) > 0 && !rec.StoreCreated.IsZero() && !rec.StoreCreated.Equal(t.Store.Created) {
		faults = append(faults, wire.Fault{Field: "store", ErrCode: wire.CodeNoStore, Reason: fmt.Sprintf(
			`store %q is another one than at the subscribe: subscribe with "restart": true`, rec.Spec.Store)})
	}
	if bad == nil {
		return strictjson.Refusal(faults)
	}
	return strictjson.RefusalWith(bad, without(faults, bad.Details))
}

// without returns the faults of fields that have none yet.
func without(faults, known []wire.Fault) (rest []wire.Fault) {
	seen := map[string]bool{}
	for _, f := range known {
		seen[f.Field] = true
	}
	for _, f := range faults {
		if !seen[f.Field] {
			rest = append(rest, f)
		}
	}
	return rest
}

// startChecked is start where nothing is wrong with the request.
func (a *api) startChecked(ctx context.Context, r *request, req *wire.ReplayRequest, rec *wire.Record) (*wire.ReplayResponse, error) {
	if req.Confirm != "" && !req.DryRun {
		c, err := confirmed(req, rec)
		if err != nil {
			return nil, err
		}
		return a.begin(ctx, r, req, rec, c)
	}
	c, err := a.resolve(ctx, req, rec.Spec.Store)
	if err != nil {
		return nil, err
	}
	enough := uint64(0)
	if !req.DryRun {
		enough = uint64(a.cfg.ConfirmAbove)
	}
	seen, err := a.count(ctx, c, req, rec, enough)
	if err != nil {
		return nil, err
	}
	c.events, c.estimated = seen.Events, seen.Low != seen.High
	many := seen.High > uint64(a.cfg.ConfirmAbove)
	switch {
	case !req.DryRun && many:
		return nil, unconfirmed(fmt.Sprintf("more than %d events may be sent", a.cfg.ConfirmAbove))
	case !req.DryRun:
		return a.begin(ctx, r, req, rec, c)
	}
	answer := &wire.ReplayResponse{Head: r.head(), Preview: seen}
	if many {
		answer.Confirm, err = c.confirm(req, rec)
	}
	return answer, err
}

// resolve finds the sequences that a replay begins and ends at. It ends before it
// begins where there is nothing in between.
func (a *api) resolve(ctx context.Context, req *wire.ReplayRequest, store string) (c counted, err error) {
	first, info, err := subscription.ResolveStart(ctx, a.js, store, req.From)
	if err != nil {
		return c, err
	}
	c.from, c.to = max(first, 1), info.Last
	switch {
	case req.To.Sequence > 0:
		c.to = min(c.to, req.To.Sequence)
	case !req.To.Time.IsZero():
		next, _, err := subscription.ResolveStart(ctx, a.js, store, wire.Position{Kind: wire.PositionTime, Time: req.To.Time})
		if err != nil {
			return c, err
		}
		c.to = min(c.to, next-1)
	}
	c.to = max(c.to, c.from-1)
	return c, nil
}

// count counts what lies in a range.
func (a *api) count(ctx context.Context, c counted, req *wire.ReplayRequest, rec *wire.Record, enough uint64) (*wire.ReplayPreview, error) {
	if !a.counts.TryAcquire(1) {
		return nil, tooMany("too many stores are being read to count their events; try again in a few seconds", maxCounts)
	}
	defer a.counts.Release(1)
	own, rest := jobs.Narrow(rec.Spec.Selector, req.Selector)
	r := preview.Range{Store: rec.Spec.Store, From: c.from, To: c.to, OrderBy: rec.Spec.OrderBy}
	var err error
	if r.Matcher, err = selector.Compile(own); err != nil {
		return nil, err
	}
	if rest != nil {
		if r.Also, err = selector.Compile(*rest); err != nil {
			return nil, err
		}
	}
	seen, err := a.previews.Count(ctx, r, enough)
	return &seen, err
}

// begin makes a new replay of a range of the store.
func (a *api) begin(ctx context.Context, r *request, req *wire.ReplayRequest, rec *wire.Record, c counted) (*wire.ReplayResponse, error) {
	now := time.Now().UTC()
	job := &wire.Replay{
		Schema: wire.SchemaVersion, ID: nuid.Next(), Name: rec.Name, UID: rec.UID, Generation: rec.Generation,
		FromSequence: c.from, ToSequence: c.to, StoreCreated: rec.StoreCreated, Spec: rec.Spec, Selector: req.Selector, MaxRate: req.Rate,
		State: wire.ReplayPending, Checkpoint: wire.Checkpoint{Floor: c.from - 1},
		ReplayCounts: wire.ReplayCounts{Total: c.events, Estimated: c.estimated},
		ReplayTimes:  wire.ReplayTimes{CreatedAt: now, UpdatedAt: now},
	}
	if req.Deliver != nil {
		job.Spec.Deliver = *req.Deliver
	}
	job, err := a.create(ctx, job)
	if err != nil {
		return nil, err
	}
	return &wire.ReplayResponse{Head: r.head(), Replay: job, Changed: true}, nil
}

// create writes a new replay, for a replayer to take.
func (a *api) create(ctx context.Context, job *wire.Replay) (*wire.Replay, error) {
	if err := a.catchUp(ctx); err != nil {
		return nil, err
	}
	if open := a.unended(); open >= a.cfg.MaxReplays {
		return nil, tooMany("too many replays have not ended: cancel one, or wait", a.cfg.MaxReplays)
	}
	what := []string{wire.AdvReplayStarted}
	if job.ToSequence < job.FromSequence { // nothing is to be done
		job.State, job.StartedAt, job.EndedAt = wire.ReplayFinished, &job.CreatedAt, &job.CreatedAt
		what = append(what, wire.AdvReplayFinished)
	}
	if err := a.jobs.Create(ctx, job); err != nil {
		return nil, err
	}
	for _, w := range what {
		a.advisor.Advise(w, job.Name, "on request", player.Facts(job))
	}
	return job, nil
}

// unended is how many replays have not ended, as far as is known.
func (a *api) unended() (n int) {
	for _, r := range a.player.All() {
		if !r.State.Ended() {
			n++
		}
	}
	return n
}

func (a *api) get(ctx context.Context, r *request) (any, *wire.Error) {
	if bad := subscription.DecodeEmpty(r.body, "replay"); bad != nil {
		return nil, bad
	}
	if !wire.ValidName(r.name) {
		return nil, noSuchReplay(r.name)
	}
	job, _, err := a.jobs.Get(ctx, r.name)
	if err != nil {
		return nil, failed(r, err)
	}
	return wire.ReplayResponse{Head: r.head(), Replay: job}, nil
}

// order returns the handler of an order.
func order(o jobs.Order) handler {
	return func(a *api, ctx context.Context, r *request) (any, *wire.Error) {
		if bad := subscription.DecodeEmpty(r.body, "replay"); bad != nil {
			return nil, bad
		}
		if !wire.ValidName(r.name) {
			return nil, noSuchReplay(r.name)
		}
		job, changed, err := a.jobs.Obey(ctx, r.name, o)
		if err != nil {
			return nil, failed(r, err)
		}
		if changed || r.silent {
			facts := player.Facts(job)
			facts["changed"] = changed
			a.advisor.Advise(said(o), job.Name, "on request", facts)
		}
		return wire.ReplayResponse{Head: r.head(), Replay: job, Changed: changed}, nil
	}
}

// said is what advisories say of an order.
func said(o jobs.Order) string {
	switch o {
	case jobs.Pause:
		return wire.AdvReplayPaused
	case jobs.Resume:
		return wire.AdvReplayResumed
	default:
		return wire.AdvReplayCancelled
	}
}

const (
	copyTimeout = 500 * time.Millisecond // how long a list waits for the copy to be current
	copyPoll    = 2 * time.Millisecond
	answerRoom  = 16 << 10 // bytes of the largest payload that are kept for what is around a list
)

func (a *api) list(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeReplayList(r.body)
	if bad != nil {
		return nil, bad
	}
	if err := a.catchUp(ctx); err != nil {
		return nil, failed(r, err)
	}
	var all []*wire.Replay
	for _, job := range a.player.All() {
		if jobs.Matches(job, req) {
			all = append(all, job)
		}
	}
	jobs.NewestFirst(all)
	answer := wire.ReplayListResponse{Head: r.head(), Total: len(all), Offset: req.Offset, Limit: req.Limit, Replays: []wire.Replay{}}
	room := a.js.Conn().MaxPayload() - answerRoom
	for _, job := range all[min(req.Offset, len(all)):] {
		row := *job
		row.Checkpoint.Ranges = nil
		body, err := wire.Marshal(row)
		if room -= int64(len(body)) + 1; err != nil || room < 0 {
			answer.Limit = len(answer.Replays) // the next page begins here
			break
		}
		if answer.Replays = append(answer.Replays, row); len(answer.Replays) == req.Limit {
			break
		}
	}
	return answer, nil
}

// catchUp waits until the copy has what has been written so far.
func (a *api) catchUp(ctx context.Context) error {
	select {
	case <-a.player.Copy().Synced():
	case <-ctx.Done():
		return ctx.Err()
	}
	st, err := a.bucket.Status(ctx)
	if err != nil {
		return err
	}
	bs, ok := st.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return errors.New("the bucket of replays has no stream behind it")
	}
	late, poll := time.NewTimer(copyTimeout), time.NewTicker(copyPoll)
	defer late.Stop()
	defer poll.Stop()
	for a.player.Copy().Last() < bs.StreamInfo().State.LastSeq {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C: // what was last may have been removed
			return nil
		}
	}
	return nil
}
