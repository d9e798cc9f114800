package parked

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/park"
)

const (
	// readers is how many events of a page are read at once.
	readers = 8
	// answerRoom is left in a message for what is around the rows.
	answerRoom = 16 << 10
)

func (s *Service) list(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeParkedList(r.Body, r.name)
	if bad != nil {
		return nil, bad
	}
	f, err := newFilter(wire.ParkedChoice{Match: req.Match, Reason: req.Reason})
	if err != nil {
		return nil, s.failed(r, err)
	}
	e, err := s.look(ctx, r.name)
	if err != nil {
		return nil, s.failed(r, err)
	}
	p, t := newPage(req), newTally(e.now)
	partial, err := s.find(ctx, search{e, f, t}, p)
	if err != nil {
		return nil, s.failed(r, err)
	}
	rows, err := s.rows(ctx, e, p.found)
	if err != nil {
		return nil, s.failed(r, err)
	}
	answer := wire.ParkedListResponse{
		Head: r.head(), Total: int(t.events), Offset: req.Offset, Limit: req.Limit, Parked: rows, Counts: t.counts(),
	}
	answer.Counts.Partial = partial
	if n := s.fitting(rows); n < len(rows) {
		answer.Parked, answer.Limit = rows[:n], n
	}
	return answer, nil
}

// find shows all that is meant to the tally and the page. It reports whether
// there was no time for all.
func (s *Service) find(ctx context.Context, q search, p *page) (partial bool, err error) {
	ctx, cancel := s.scanTime(ctx)
	defer cancel()
	for i, part := range p.spans(q.span) {
		to, err := s.scan(ctx, q, part, func(c *park.Copy) bool {
			q.add(rowOf(c))
			p.add(c.Parked)
			return true
		})
		if err != nil && (i == 0 || ctx.Err() == nil) {
			return true, err
		}
		p.close(to == part.to)
		if to < part.to {
			return true, nil
		}
	}
	return false, nil
}

// rows reads the events of a page. One that was discarded meanwhile is left out.
func (s *Service) rows(ctx context.Context, e extent, seqs []uint64) ([]wire.Parked, error) {
	read := make([]*wire.Parked, len(seqs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, seq := range seqs {
		g.Go(func() error {
			m, err := jsapi.GetMsg(ctx, s.js, s.ns.StreamParked(), map[string]any{"seq": seq})
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound):
				return nil
			case err != nil:
				return fmt.Errorf("read parked event %d: %w", seq, err)
			case m.Subject != s.ns.Parked(e.name):
				return errRecreated
			}
			c := park.ReadCopy(feed.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data, Sequence: m.Sequence, Time: m.Time})
			read[i] = shown(&c)
			return nil
		})
	}
	err := g.Wait()
	rows := make([]wire.Parked, 0, len(read))
	for _, row := range read {
		if row != nil {
			rows = append(rows, *row)
		}
	}
	return rows, err
}

// shown is an event as a list shows it.
func shown(c *park.Copy) *wire.Parked {
	row := &wire.Parked{
		ParkedSequence: c.Parked, Store: c.Event.Store, Sequence: c.Event.Sequence, Subject: c.Event.Subject,
		Type: c.Event.Type, Stream: c.Event.Stream, Time: c.Event.Time, Reason: c.Reason, Attempts: c.Attempts,
		ParkedAt: c.At, Size: c.Size, History: c.History,
	}
	row.Headers, row.Cut = shownHeaders(c.Event.Header)
	data := bytes.TrimPrefix(c.Event.Data, []byte("\xef\xbb\xbf"))
	switch {
	case len(data) <= wire.MaxParkedData && json.Valid(data):
		row.Data = slices.Clone(data)
	case len(data) > wire.MaxParkedData:
		row.DataBase64, row.Cut = slices.Clone(data[:wire.MaxParkedData]), true
	default:
		row.DataBase64 = slices.Clone(data)
	}
	if c.NoBody {
		row.Omitted = append(row.Omitted, "body")
	}
	if c.NoHeaders {
		row.Omitted = append(row.Omitted, "headers")
	}
	return row
}

// shownHeaders are the first headers, by name, that a row has room for.
func shownHeaders(h nats.Header) (out map[string]wire.StringList, cut bool) {
	out = map[string]wire.StringList{}
	room := wire.MaxParkedHeaders
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if strings.EqualFold(name, wire.HeaderHops) {
			continue // what deliveries have is one more
		}
		for _, v := range h[name] {
			room -= len(name) + len(v)
		}
		if room < 0 {
			return out, true
		}
		out[name] = h[name]
	}
	return out, false
}

// fitting returns how many of the first rows one message can carry; at least one,
// where there is any.
func (s *Service) fitting(rows []wire.Parked) int {
	room := s.js.Conn().MaxPayload() - answerRoom
	for i := range rows {
		b, err := wire.Marshal(&rows[i])
		if err != nil {
			return i
		}
		if room -= int64(len(b)) + 1; room < 0 {
			return max(i, 1)
		}
	}
	return len(rows)
}
