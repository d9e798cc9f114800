package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	nc := &nats.Conn{}
	for name, f := range map[string]func() (*client.Client, error){
		"no connection": func() (*client.Client, error) { return client.New(nil) },
		"namespace":     func() (*client.Client, error) { return client.New(nc, client.WithNamespace("No.Good")) },
		"timeout":       func() (*client.Client, error) { return client.New(nc, client.WithTimeout(0)) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// verbs are all verbs, as a user calls them, with the request that must come
// of it and an answer.
var verbs = []struct {
	name    string
	call    func(context.Context, *client.Client) (any, error)
	subject string
	body    string
	answer  string
	want    any
}{
	{
		"subscribe", func(ctx context.Context, c *client.Client) (any, error) {
			a, err := c.Subscribe(ctx, "n", client.Spec{Store: "S"}, client.IfRevision(0), client.Restart())
			if err != nil {
				return nil, err
			}
			return []any{a.Created, a.Changed, a.Subscription.Name}, nil
		}, "other.v1.api.subscribe.n", `{"store":"S","if_revision":0,"restart":true}`,
		`{"type":"io.sluice.api.v1.subscribe_response","subscription":{"name":"n"},"created":true,"changed":true}`,
		[]any{true, true, "n"},
	},
	{
		"subscribe as people wrote it", func(ctx context.Context, c *client.Client) (any, error) {
			a, err := c.Subscribe(ctx, "n", client.Spec{Selector: client.Selector{
				ByStream: []string{"a.>"}, ByEventPayload: map[string]any{"n": []any{map[string]any{"numeric": []any{"<", 1}}}},
			}, Labels: map[string]string{"k": "b & c"}})
			return a != nil && a.Created, err
		}, "other.v1.api.subscribe.n",
		`{"selector":{"by_stream":["a.>"],"by_event_payload":{"n":[{"numeric":["<",1]}]}},"labels":{"k":"b & c"}}`,
		`{"type":"io.sluice.api.v1.subscribe_response","subscription":{"name":"n"},"created":true}`, true,
	},
	{
		"unsubscribe", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Unsubscribe(ctx, "n", client.IfRevision(4))
		}, "other.v1.api.unsubscribe.n", `{"if_revision":4}`,
		`{"type":"io.sluice.api.v1.unsubscribe_response","deleted":true}`, true,
	},
	{
		"get", func(ctx context.Context, c *client.Client) (any, error) {
			a, err := c.Get(ctx, "n")
			if err != nil {
				return nil, err
			}
			return []any{a.Subscription.Name, a.Pool.Owner}, nil
		}, "other.v1.api.subscription.get.n", ``,
		`{"type":"io.sluice.api.v1.subscription_get_response","subscription":{"name":"n"},"pool":{"owner":"e-1"}}`,
		[]any{"n", "e-1"},
	},
	{
		"pause", func(ctx context.Context, c *client.Client) (any, error) {
			s, err := c.Pause(ctx, "n")
			return s != nil && s.Paused, err
		}, "other.v1.api.subscription.pause.n", ``,
		`{"type":"io.sluice.api.v1.subscription_pause_response","subscription":{"paused":true}}`, true,
	},
	{
		"resume", func(ctx context.Context, c *client.Client) (any, error) {
			s, err := c.Resume(ctx, "n")
			return s != nil && !s.Paused, err
		}, "other.v1.api.subscription.resume.n", ``,
		`{"type":"io.sluice.api.v1.subscription_resume_response","subscription":{}}`, true,
	},
	{
		"seek", func(ctx context.Context, c *client.Client) (any, error) {
			a, err := c.Seek(ctx, "n", wire.SeekRequest{To: client.FromAll(), DryRun: true})
			if err != nil {
				return nil, err
			}
			return []any{a.FromSequence, a.ToSequence, a.Events}, nil
		}, "other.v1.api.subscription.seek.n", `{"to":"all","dry_run":true}`,
		`{"type":"io.sluice.api.v1.subscription_seek_response","from_sequence":9,"to_sequence":1,"events":8}`,
		[]any{uint64(9), uint64(1), uint64(8)},
	},
	{
		"explain a stored event", func(ctx context.Context, c *client.Client) (any, error) {
			a, err := c.Explain(ctx, "n", wire.ExplainRequest{Sequence: 7})
			if err != nil {
				return nil, err
			}
			return []any{a.Name, a.Matches, a.Event.Type, a.Delivery}, nil
		}, "other.v1.api.subscription.explain.n", `{"sequence":7}`,
		`{"type":"io.sluice.api.v1.subscription_explain_response","name":"n","matches":true,"reasons":[],"event":{"type":"opened"},"delivery":"not yet read"}`,
		[]any{"n", true, "opened", wire.DeliveryNotYetRead},
	},
	{
		"explain an event", func(ctx context.Context, c *client.Client) (any, error) {
			a, err := c.Explain(ctx, "n", wire.ExplainRequest{Event: &wire.ExplainEvent{
				Subject: "a.b", Headers: map[string]wire.StringList{"k": {"v"}}, Data: json.RawMessage(`{"x":1}`),
			}})
			if err != nil {
				return nil, err
			}
			return []any{a.Matches, a.Reasons}, nil
		}, "other.v1.api.subscription.explain.n", `{"event":{"subject":"a.b","headers":{"k":"v"},"data":{"x":1}}}`,
		`{"type":"io.sluice.api.v1.subscription_explain_response","reasons":[{"member":"selector.by_event_type","path":"type","want":"x","found":"b"}]}`,
		[]any{false, []wire.ExplainReason{{Member: "selector.by_event_type", Path: "type", Want: "x", Found: "b"}}},
	},
	{
		"health check", func(ctx context.Context, c *client.Client) (any, error) {
			r, err := c.CheckHealth(ctx)
			return r != nil && r.Status == "healthy", err
		}, "other.v1.api.health.check", ``, `{"type":"io.sluice.health.v1.report","status":"healthy"}`, true,
	},
	{
		"health report", func(ctx context.Context, c *client.Client) (any, error) {
			r, err := c.HealthReport(ctx)
			return r != nil && r.Leader == "h-1", err
		}, "other.v1.api.health.report", ``, `{"type":"io.sluice.health.v1.report","leader":"h-1"}`, true,
	},
	{
		"subscription health", func(ctx context.Context, c *client.Client) (any, error) {
			h, err := c.SubscriptionHealth(ctx, "n")
			return h != nil && h.Lag == 3 && h.LagAge.Std() == 2*time.Second, err
		}, "other.v1.api.health.subscription.n", ``,
		`{"type":"io.sluice.api.v1.health_subscription_response","lag":3,"lag_age":"2s"}`, true,
	},
	{
		"cleanup", func(ctx context.Context, c *client.Client) (any, error) {
			return c.SetCleanup(ctx, false)
		}, "other.v1.api.health.cleanup", `{"enabled":false}`,
		`{"type":"io.sluice.api.v1.health_cleanup_response","enabled":false}`, false,
	},
	{
		"repair", func(ctx context.Context, c *client.Client) (any, error) {
			r, err := c.Repair(ctx, wire.RepairRequest{Kind: wire.IssueOrphanedPool, Name: "n", DryRun: true})
			return r != nil && r.Outcome == "would_do", err
		}, "other.v1.api.health.repair", `{"kind":"orphaned_pools","name":"n","dry_run":true}`,
		`{"type":"io.sluice.api.v1.health_repair_response","repair":{"outcome":"would_do"}}`, true,
	},
}

func TestEveryVerbSendsItsRequestAndReadsTheAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range verbs {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, nc := setup(t, client.WithNamespace("other"))
			var subject, body string
			serve(t, nc, "other.v1.api.>", func(msg *nats.Msg) string {
				subject, body = msg.Subject, string(msg.Data)
				return tt.answer
			})
			got, err := tt.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{tt.subject, tt.body, tt.want}, []any{subject, body, got}); diff != "" {
				t.Errorf("subject, body and result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorAnswersAreTypedErrors(t *testing.T) {
	t.Parallel()
	const answer = `{"type":"x","error":{"code":409,"err_code":300006,"description":"moved on","revision":7,` +
		`"details":[{"field":"if_revision","reason":"is 6"}]}}`
	for _, tt := range verbs {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, nc := setup(t, client.WithNamespace("other"))
			serve(t, nc, "other.v1.api.>", func(*nats.Msg) string { return answer })
			_, err := tt.call(t.Context(), c)
			var werr *wire.Error
			if !errors.As(err, &werr) || werr.Revision != 7 || len(werr.Details) != 1 {
				t.Fatalf("error = %v, want the wire.Error of the answer", err)
			}
			if client.CodeOf(err) != wire.CodeConflict || !errors.Is(err, &wire.Error{ErrCode: wire.CodeConflict}) {
				t.Errorf("error = %v, want code %d", err, wire.CodeConflict)
			}
		})
	}
	if code := client.CodeOf(errors.New("other")); code != 0 {
		t.Errorf("code of a foreign error = %d, want 0", code)
	}
}

func TestAnErrorInTheHeadersAloneIsAnError(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]wire.ErrCode{"503": wire.CodeUnavailable, "500": wire.CodeInternal} {
		c, nc := setup(t)
		_, err := nc.Subscribe("sluice.v1.api.>", func(msg *nats.Msg) {
			answer := nats.NewMsg(msg.Reply)
			answer.Header.Set(wire.HeaderServiceError, "broken")
			answer.Header.Set(wire.HeaderServiceErrorCode, status)
			if err := nc.PublishMsg(answer); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		flush(t, nc)
		if _, err := c.Get(t.Context(), "n"); client.CodeOf(err) != want || !strings.Contains(err.Error(), "broken") {
			t.Errorf("status %s: error = %v, want code %d", status, err, want)
		}
	}
}

func TestAnswersThatCannotBeMeantAreErrors(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"not JSON":            `pong`,
		"of another type":     `{"type":"io.sluice.api.v1.other_response","subscription":{"name":"n"}}`,
		"no subscription":     `{"type":"io.sluice.api.v1.subscription_get_response"}`,
		"field of wrong kind": `{"type":"io.sluice.api.v1.subscription_get_response","subscription":3}`,
		"empty":               ``,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, nc := setup(t)
			serve(t, nc, "sluice.v1.api.>", func(*nats.Msg) string { return answer })
			if a, err := c.Get(t.Context(), "n"); err == nil || client.CodeOf(err) != 0 {
				t.Errorf("answer = %v, error = %v, want one that is no wire.Error", a, err)
			}
		})
	}
}

func TestABadNameIsRefusedWithoutARequest(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	serve(t, nc, "sluice.>", func(msg *nats.Msg) string {
		t.Errorf("request on %q", msg.Subject)
		return ""
	})
	for _, name := range []string{"", "a.b", "a b", "*", ">", strings.Repeat("x", 65)} {
		for what, call := range map[string]func() error{
			"subscribe":   func() error { _, err := c.Subscribe(t.Context(), name, client.Spec{}); return err },
			"unsubscribe": func() error { _, err := c.Unsubscribe(t.Context(), name); return err },
			"get":         func() error { _, err := c.Get(t.Context(), name); return err },
			"health":      func() error { _, err := c.SubscriptionHealth(t.Context(), name); return err },
		} {
			if err := call(); client.CodeOf(err) != wire.CodeBadField {
				t.Errorf("%s %q: error = %v, want code %d", what, name, err, wire.CodeBadField)
			}
		}
	}
}

func TestNoResponderIsUnavailableAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	c, _ := setup(t)
	_, getErr := c.Get(t.Context(), "n")
	_, healthErr := c.CheckHealth(t.Context())
	_, replayErr := c.Request(t.Context(), wire.VerbReplayList, "", nil)
	for service, err := range map[string]error{"registry": getErr, "healthmon": healthErr, "replayer": replayErr} {
		if client.CodeOf(err) != wire.CodeUnavailable || !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s: error = %v, want code %d around no responders", service, err, wire.CodeUnavailable)
		}
		if want := "go run ./services/" + service; !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want it to say %q", err, want)
		}
	}
}

func TestRequestsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	c, nc := setup(t, client.WithTimeout(50*time.Millisecond))
	if _, err := nc.SubscribeSync("sluice.>"); err != nil { // listens and never answers
		t.Fatal(err)
	}
	flush(t, nc)
	if _, err := c.Get(t.Context(), "n"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the client's timeout", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, "n"); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want it cancelled", err)
	}
}

// serveList answers list requests from rows, which it asks for each time.
func serveList(t *testing.T, nc *nats.Conn, rows func() []string) {
	t.Helper()
	serve(t, nc, "sluice.v1.api.subscription.list", func(msg *nats.Msg) string {
		var req wire.ListRequest
		if err := json.Unmarshal(msg.Data, &req); err != nil {
			t.Error(err)
		}
		names := rows()
		answer := wire.ListResponse{Head: wire.Head{Type: wire.ResponseType(wire.VerbList)}, Total: len(names)}
		for _, name := range names[min(req.Offset, len(names)):min(req.Offset+req.Limit, len(names))] {
			answer.Subscriptions = append(answer.Subscriptions, wire.ListedSubscription{
				Subscription: wire.Subscription{Name: name}, State: req.State,
			})
		}
		b, err := json.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	})
}

func TestListGoesThroughAllPages(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	names := []string{"b", "c", "d", "e", "f", "g", "h"}
	requests := 0
	serveList(t, nc, func() []string {
		if requests++; requests == 2 {
			names = append([]string{"a"}, names...) // created before those already seen
		}
		return names
	})
	var got []string
	for row, err := range c.List(t.Context(), wire.ListRequest{Limit: 3, State: "live"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row.Name+" "+row.State)
	}
	want := []string{"b live", "c live", "d live", "e live", "f live", "g live", "h live"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for row, err := range c.List(t.Context(), wire.ListRequest{Limit: 3}) {
		if err != nil || row.Name != "a" {
			t.Errorf("first row = %q, %v, want a", row.Name, err)
		}
		break
	}
	if requests != 4 {
		t.Errorf("%d requests, want 3 pages and 1", requests)
	}
}

func TestListEndsWithTheFirstError(t *testing.T) {
	t.Parallel()
	c, _ := setup(t)
	n := 0
	for _, err := range c.List(t.Context(), wire.ListRequest{}) {
		if n++; client.CodeOf(err) != wire.CodeUnavailable {
			t.Errorf("error = %v, want code %d", err, wire.CodeUnavailable)
		}
	}
	if n != 1 {
		t.Errorf("%d iterations, want 1", n)
	}
}

func TestAdvisoriesAreYieldedFromTheCallOn(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all, err := c.Advisories(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	pools, err := c.Advisories(ctx, "pool.*.triage")
	if err != nil {
		t.Fatal(err)
	}
	ns := wire.DefaultNamespace
	for _, what := range []string{wire.AdvPoolClaimed, wire.AdvBreakerOpened, wire.AdvPoolLost} {
		body := fmt.Sprintf(`{"type":%q,"name":"triage"}`, wire.AdvisoryType(what))
		if what == wire.AdvBreakerOpened {
			body = "?"
		}
		if err := nc.Publish(ns.Advisory(what, "triage"), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	// What the client library takes for its own word is a message like any other.
	if err := nc.PublishMsg(&nats.Msg{Subject: ns.Advisory(wire.AdvEventParked, "x"), Header: nats.Header{"Status": {"503"}}}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish(ns.Advisory(wire.AdvPoolLost, "triage"), []byte(`{"type":"last"}`)); err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	var got []string
	for a, err := range all {
		if err != nil {
			a.Type = "error"
		}
		if got = append(got, a.Type); len(got) == 5 {
			break
		}
	}
	for a, err := range pools {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, a.Type); len(got) == 8 {
			cancel() // the iteration ends by itself
		}
	}
	want := []string{
		"io.sluice.advisory.v1.pool.claimed", "error", "io.sluice.advisory.v1.pool.lost", "error", "last",
		"io.sluice.advisory.v1.pool.claimed", "io.sluice.advisory.v1.pool.lost", "last",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("advisories (-want +got):\n%s", diff)
	}
}

func TestHealthReportsAndChangesAreYielded(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	reports, err := c.HealthReports(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	changes, err := c.HealthChanges(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ns := wire.DefaultNamespace
	for subject, body := range map[string]string{
		ns.HealthReport():          `{"type":"io.sluice.health.v1.report","status":"degraded"}`,
		ns.HealthSubscription("n"): `{"name":"n","status":"failing"}`,
	} {
		if err := nc.Publish(subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for r, err := range reports {
		if err != nil || r.Status != wire.StatusDegraded {
			t.Errorf("report = %+v, %v", r, err)
		}
		break
	}
	for h, err := range changes {
		if err != nil || h.Name != "n" || h.Status != wire.StatusFailing {
			t.Errorf("change = %+v, %v", h, err)
		}
		break
	}
}
