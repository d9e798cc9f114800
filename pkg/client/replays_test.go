package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestEveryVerbOfReplaysSendsItsRequestAndReadsTheAnswer(t *testing.T) {
	t.Parallel()
	answer := func(verb string) string {
		return `{"type":"io.sluice.api.v1.replay_` + verb + `_response","replay":{"id":"r","state":"running","rate":7}}`
	}
	for _, tt := range []struct {
		name          string
		call          func(context.Context, *client.Client) (*wire.Replay, error)
		subject, body string
		answer        string
	}{
		{"start", func(ctx context.Context, c *client.Client) (*wire.Replay, error) {
			return c.StartReplay(ctx, "n", client.Replay{
				From: client.FromSequence(3), To: wire.ReplayEnd{Sequence: 9}, Selector: &client.Selector{ByEventType: []string{"t"}},
				Deliver: &client.Deliver{Subject: "again"}, Rate: 10, Confirm: "x",
			})
		}, "replay.start.n", `{"from":{"sequence":3},"to":{"sequence":9},"selector":{"by_event_type":["t"]},"deliver":{"subject":"again"},"rate":10,"confirm":"x"}`, answer("start")},
		{"start with little", func(ctx context.Context, c *client.Client) (*wire.Replay, error) {
			return c.StartReplay(ctx, "n", client.Replay{From: client.FromAll()})
		}, "replay.start.n", `{"from":"all","to":"now"}`, answer("start")},
		{"start up to a time", func(ctx context.Context, c *client.Client) (*wire.Replay, error) {
			at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
			return c.StartReplay(ctx, "n", client.Replay{From: client.FromTime(at), To: wire.ReplayEnd{Time: at.Add(time.Hour)}})
		}, "replay.start.n", `{"from":{"time":"2026-01-02T03:04:05.000000006Z"},"to":{"time":"2026-01-02T04:04:05.000000006Z"}}`, answer("start")},
		{"get", func(ctx context.Context, c *client.Client) (*wire.Replay, error) { return c.Replay(ctx, "r") }, "replay.get.r", ``, answer("get")},
		{"cancel", func(ctx context.Context, c *client.Client) (*wire.Replay, error) { return c.CancelReplay(ctx, "r") }, "replay.cancel.r", ``, answer("cancel")},
		{"pause", func(ctx context.Context, c *client.Client) (*wire.Replay, error) { return c.PauseReplay(ctx, "r") }, "replay.pause.r", ``, answer("pause")},
		{"resume", func(ctx context.Context, c *client.Client) (*wire.Replay, error) { return c.ResumeReplay(ctx, "r") }, "replay.resume.r", ``, answer("resume")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, nc := setup(t, client.WithNamespace("other"))
			var subject, body string
			serve(t, nc, "other.v1.api.>", func(msg *nats.Msg) string {
				subject, body = msg.Subject, string(msg.Data)
				return tt.answer
			})
			r, err := tt.call(t.Context(), c)
			if err != nil || r.ID != "r" || r.State != wire.ReplayRunning || r.Rate != 7 {
				t.Errorf("%+v, %v", r, err)
			}
			if subject != "other.v1.api."+tt.subject || body != tt.body {
				t.Errorf("sent to %s: %s", subject, body)
			}
		})
	}
}

func TestAPreviewIsADryRun(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	var body string
	serve(t, nc, "sluice.v1.api.replay.start.n", func(msg *nats.Msg) string {
		body = string(msg.Data)
		return `{"type":"io.sluice.api.v1.replay_start_response","preview":{"events":5,"exact":true},"confirm":"x"}`
	})
	seen, err := c.PreviewReplay(t.Context(), "n", client.Replay{From: client.FromAll()})
	if err != nil || seen.Preview.Events != 5 || seen.Confirm != "x" || body != `{"from":"all","to":"now","dry_run":true}` {
		t.Errorf("%+v, %v, for %s", seen, err, body)
	}
	if _, err := c.StartReplay(t.Context(), "n", client.Replay{}); err == nil {
		t.Error("a preview was taken for a replay")
	}
}

// replayList answers lists of replays, which it asks for each time.
func replayList(t *testing.T, nc *nats.Conn, rows func() []string) {
	t.Helper()
	serve(t, nc, "sluice.v1.api.replay.list", func(msg *nats.Msg) string {
		var req wire.ReplayListRequest
		if err := json.Unmarshal(msg.Data, &req); err != nil || req.Name != "n" {
			t.Errorf("%s, %v", msg.Data, err)
		}
		ids := rows()
		answer := wire.ReplayListResponse{Head: wire.Head{Type: wire.ResponseType(wire.VerbReplayList)}, Total: len(ids)}
		for _, id := range ids[min(req.Offset, len(ids)):min(req.Offset+req.Limit, len(ids))] {
			answer.Replays = append(answer.Replays, wire.Replay{ID: id})
		}
		b, err := json.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	})
}

func TestReplaysGoesThroughAllPages(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	ids := []string{"g", "f", "e", "d", "c", "b", "a"}
	requests := 0
	replayList(t, nc, func() []string {
		if requests++; requests == 2 {
			ids = append([]string{"h"}, ids...) // the newest comes first
		}
		return ids
	})
	var got []string
	for r, err := range c.Replays(t.Context(), wire.ReplayListRequest{Name: "n", Limit: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.ID)
	}
	if want := []string{"g", "f", "e", "d", "c", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, err := range c.Replays(t.Context(), wire.ReplayListRequest{Name: "n", Limit: 3}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if requests != 4 {
		t.Errorf("%d requests, want 3 pages and 1", requests)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Replays(ctx, wire.ReplayListRequest{Name: "n", Limit: 3}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want it cancelled", err)
		}
	}
}

func TestAReplayIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	n := 0
	serve(t, nc, "sluice.v1.api.replay.get.r", func(*nats.Msg) string {
		state := wire.ReplayRunning
		if n++; n == 3 {
			state = wire.ReplayFinished
		}
		return fmt.Sprintf(`{"type":"io.sluice.api.v1.replay_get_response","replay":{"id":"r","state":%q,"finished":%d}}`, state, n)
	})
	var got []uint64
	for r, err := range c.FollowReplay(t.Context(), "r", time.Millisecond) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Finished)
	}
	if !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("seen %v", got)
	}
	for _, err := range c.FollowReplay(t.Context(), "r", 0) {
		if err == nil {
			t.Error("asks without a pause")
		}
	}
	n = 3
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for r, err := range c.FollowReplay(ctx, "r", time.Hour) {
		if r != nil {
			cancel()
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want it cancelled", err)
		}
	}
}
