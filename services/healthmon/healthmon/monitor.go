package healthmon

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
	"github.com/sluicehq/sluice/services/healthmon/internal/repair"
)

// Bounds of the leader's loop.
const (
	maxTasks = 64                     // requests that wait for the leader; more get CodeTooMany
	minPause = 250 * time.Millisecond // between two sweeps that nobody asked for
)

// monitorConfig configures a monitor.
type monitorConfig struct {
	Config
	ns       wire.Namespace
	instance string
	check    check.Config
	replies  *bus.Responder
	advisor  *bus.Advisor
	metrics  *metrics
}

// monitor is the leader's work. Its loop is one goroutine: sweeps and repairs
// never overlap.
type monitor struct {
	monitorConfig
	src    *source
	health bucket.KeyValue
	log    zerolog.Logger
	rarely zerolog.Logger // for what fails at every sweep
	tasks  chan task
	woken  chan struct{} // cap 1
	// emitters are the live ones as of the last change, for emittersChanged.
	emitters atomic.Pointer[string]

	// shown are the statuses of the last sweep of this term; nil: none yet.
	shown atomic.Pointer[map[string]keptStatus]
	// latest is the last report, as it was judged; nil: none is known.
	latest atomic.Pointer[latest]

	// Below is what the current term knows. Only its loop touches it.
	mem   check.Memory
	book  *repair.Book
	kept  *kept
	uids  map[string]string // by subscription
	swept time.Time         // when the last sweep ended
	// totalPools counts the pool entries, as of the last sweep that saw them.
	totalPools int
}

// task is a request that was handed to the leader.
type task struct {
	repair *wire.RepairRequest // nil: a check
	msg    *nats.Msg
}

func newMonitor(cfg monitorConfig, src *source, health bucket.KeyValue, log zerolog.Logger) *monitor {
	return &monitor{
		monitorConfig: cfg, src: src, health: health, log: log, rarely: bus.Rarely(log),
		tasks: make(chan task, maxTasks), woken: make(chan struct{}, 1),
	}
}

// wake asks for a sweep soon. It never blocks.
func (m *monitor) wake() {
	select {
	case m.woken <- struct{}{}:
	default:
	}
}

// emittersChanged asks for a sweep if emitters came or went since it was last
// called. What else their sessions say changes all the time.
func (m *monitor) emittersChanged(live []wire.Session) {
	names := make([]string, 0, len(live))
	for _, e := range live {
		names = append(names, e.Instance)
	}
	now := strings.Join(names, " ")
	if was := m.emitters.Swap(&now); was == nil || *was != now {
		m.wake()
	}
}

// leaderSubject is where the leader takes what only it can do.
func leaderSubject(ns wire.Namespace, verb string) string {
	return wire.InternalPrefix + string(ns) + ".healthmon.leader." + verb
}

// lead does the leader's work until ctx ends.
func (m *monitor) lead(ctx context.Context, l wire.Lease) error {
	m.kept = newKept(m.health, m.log)
	mem, tried, err := m.kept.memory(ctx)
	if err != nil && m.src.isMissing(ctx, m.ns.BucketHealth()) {
		m.log.Warn().Err(err).Msg("nothing is known of what was found before: its bucket is missing")
		err = nil
	}
	if err != nil {
		return fmt.Errorf("read back issues: %w", err)
	}
	m.mem, m.book = mem, repair.NewBook(repair.Limits{
		MaxAttempts: m.CleanupMaxAttempts, Delay: m.CleanupRetryDelay,
	}, tried)
	m.uids, m.totalPools = map[string]string{}, 0
	for name, st := range m.kept.statuses {
		m.uids[name] = st.UID
	}
	m.shown.Store(nil)
	m.latest.Store(m.inherited(ctx))
	stop, err := m.take()
	if err != nil {
		return err
	}
	m.log.Info().Uint64("epoch", l.Epoch).Int("issues", len(mem.Issues)).Msg("leading")
	m.loop(ctx)
	stop()
	m.refuse()
	m.metrics.follow()
	return nil
}

// take subscribes to what is handed to the leader; stop ends that.
func (m *monitor) take() (stop func(), err error) {
	var subs []*nats.Subscription
	stop = func() {
		for _, s := range subs {
			_ = s.Unsubscribe()
		}
	}
	for verb, read := range map[string]func(*nats.Msg) (task, error){
		wire.VerbHealthCheck: func(msg *nats.Msg) (task, error) { return task{msg: msg}, nil },
		wire.VerbHealthRepair: func(msg *nats.Msg) (task, error) {
			var req wire.RepairRequest
			err := json.Unmarshal(msg.Data, &req)
			return task{msg: msg, repair: &req}, err
		},
	} {
		s, err := m.src.nc.Subscribe(leaderSubject(m.ns, verb), func(msg *nats.Msg) {
			if !m.replies.Accepts(msg) {
				return
			}
			t, err := read(msg)
			if err != nil {
				m.answer(msg, verb, nil, wire.Errorf(wire.CodeBadJSON, "the request cannot be read: %s", err))
				return
			}
			select {
			case m.tasks <- t:
			default:
				e := wire.Errorf(wire.CodeTooMany, "too many requests wait for the monitor")
				limit, left := maxTasks, 0
				e.Limit, e.Remaining = &limit, &left
				m.answer(msg, verb, nil, e)
			}
		})
		if err != nil {
			stop()
			return nil, fmt.Errorf("take requests: %w", err)
		}
		subs = append(subs, s)
	}
	for verb, tell := range map[string]nats.MsgHandler{verbStatus: m.tellStatus, verbLatest: m.tellLatest} {
		s, err := m.src.nc.Subscribe(leaderSubject(m.ns, verb), tell)
		if err != nil {
			stop()
			return nil, fmt.Errorf("take requests: %w", err)
		}
		subs = append(subs, s)
	}
	return stop, nil
}

// verbStatus is the leader's verb for the status of the subscription that the
// request names, as of its last sweep.
const verbStatus = "health.status"

// tellStatus answers with a status, an empty one where there is none.
func (m *monitor) tellStatus(msg *nats.Msg) {
	var st keptStatus
	if shown := m.shown.Load(); shown != nil {
		st = (*shown)[string(msg.Data)]
	}
	m.answer(msg, verbStatus, st, nil)
}

// refuse answers what was handed over too late to be done.
func (m *monitor) refuse() {
	for {
		select {
		case t := <-m.tasks:
			m.answer(t.msg, t.verb(), nil, wire.Errorf(wire.CodeUnavailable, "the monitor's leader has changed, nothing was done"))
		default:
			return
		}
	}
}

func (t task) verb() string {
	if t.repair != nil {
		return wire.VerbHealthRepair
	}
	return wire.VerbHealthCheck
}

// answer replies with body, or with the error where there is one.
func (m *monitor) answer(msg *nats.Msg, verb string, body any, e *wire.Error) {
	if e != nil {
		body = wire.Head{Type: wire.ResponseType(verb), Error: e}
	}
	b, err := wire.Marshal(body)
	if err != nil {
		m.log.Error().Err(err).Str("verb", verb).Msg("answer cannot be encoded")
		return
	}
	if err := m.replies.Answer(msg, b, nil); err != nil {
		m.log.Warn().Err(err).Str("verb", verb).Msg("answer not sent")
	}
}

// loop sweeps until ctx ends.
func (m *monitor) loop(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for ctx.Err() == nil {
		var checks []task
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case <-m.woken:
			next.Reset(max(0, minPause-time.Since(m.swept)))
			continue
		case t := <-m.tasks:
			if t.repair != nil {
				m.byHand(ctx, t)
				continue
			}
			checks = append(checks, t)
		}
		checks, repairs := m.waiting(checks)
		recheck := m.sweepFor(ctx, checks)
		for _, t := range repairs {
			m.byHand(ctx, t)
		}
		pause := m.Interval
		if recheck > 0 {
			pause = min(pause, max(recheck, minPause))
		}
		next.Reset(pause)
	}
}

// waiting takes the requests that wait already: one sweep serves all checks.
func (m *monitor) waiting(checks []task) (all, repairs []task) {
	for {
		select {
		case t := <-m.tasks:
			if t.repair != nil {
				repairs = append(repairs, t)
			} else {
				checks = append(checks, t)
			}
		default:
			return checks, repairs
		}
	}
}

// sweepFor sweeps and answers those who asked for it. It returns how soon to
// look again, 0 for the interval.
func (m *monitor) sweepFor(ctx context.Context, checks []task) time.Duration {
	start := time.Now()
	report, recheck, err := m.sweep(ctx, start)
	m.swept = time.Now()
	var issues []wire.Issue
	if err == nil {
		issues = report.all
	}
	m.metrics.swept(ctx, start, issues, err)
	var e *wire.Error
	if err != nil {
		if ctx.Err() == nil {
			m.rarely.Error().Err(err).Msg("sweep failed")
		}
		e = wire.Errorf(wire.CodeUnavailable, "the sweep was not finished: %s", err)
		recheck = time.Second
	}
	for _, t := range checks {
		if e != nil {
			m.answer(t.msg, t.verb(), nil, e)
			continue
		}
		m.answer(t.msg, t.verb(), json.RawMessage(report.body), nil)
	}
	return recheck
}
