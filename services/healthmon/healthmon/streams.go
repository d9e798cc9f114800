package healthmon

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/services/healthmon/internal/capture"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// Bounds of the list of streams.
const (
	maxStreams  = 50_000
	listTimeout = 10 * time.Second
)

// streamPage is what is read of an answer to STREAM.LIST.
type streamPage struct {
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
	Total   int `json:"total"`
	Streams []struct {
		Config struct {
			Name     string        `json:"name"`
			Subjects []string      `json:"subjects"`
			Mirror   *streamSource `json:"mirror"`
			Sources  []*streamSource
		} `json:"config"`
	} `json:"streams"`
	Missing []string        `json:"missing"` // whose leaders did not answer
	Offline json.RawMessage `json:"offline"` // that their server cannot run
}

type streamSource struct {
	Name     string          `json:"name"`
	External json.RawMessage `json:"external"`
}

// captures adds which streams store deliveries, and where the events of stores
// come from. All streams are listed once, whatever the number of subscriptions.
func (s *source) captures(ctx context.Context, snap *check.Snapshot) {
	streams, err := s.listStreams(ctx)
	if err != nil {
		s.log.Warn().Err(err).Msg("streams cannot be listed, captured deliveries may go unnoticed")
	}
	m := capture.New(streams)
	c := check.Captures{
		BySubject: make(map[string][]check.Capture, len(snap.Records)), Origins: map[string][]string{}, Known: err == nil,
	}
	for _, r := range snap.Records {
		if r.Record == nil {
			continue
		}
		subject, store := r.Record.Spec.Deliver.Subject, r.Record.Spec.Store
		if _, done := c.BySubject[subject]; !done && subject != "" {
			c.BySubject[subject] = nil
			for _, h := range m.Find(subject) {
				c.BySubject[subject] = append(c.BySubject[subject], check.Capture(h))
			}
		}
		if _, done := c.Origins[store]; !done {
			c.Origins[store] = m.Origins(store)
		}
	}
	snap.Captures = c
}

// listStreams returns every stream of the account; with an error those that it
// could learn of.
func (s *source) listStreams(ctx context.Context) ([]capture.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var all []capture.Stream
	for {
		page, err := s.streamPage(ctx, len(all))
		if err != nil {
			return all, err
		}
		for _, st := range page.Streams {
			one := capture.Stream{Name: st.Config.Name, Subjects: st.Config.Subjects}
			for _, from := range append(st.Config.Sources, st.Config.Mirror) {
				if from != nil && len(from.External) == 0 {
					one.From = append(one.From, from.Name)
				}
			}
			all = append(all, one)
		}
		switch {
		case len(page.Missing) > 0 || len(page.Offline) > 0:
			return all, fmt.Errorf("%d streams do not answer, %q among them", len(page.Missing), page.Missing[:min(1, len(page.Missing))])
		case len(all) >= page.Total || len(page.Streams) == 0:
			return all, nil
		case len(all) >= maxStreams:
			return all, fmt.Errorf("there are %d streams, and only %d are looked at", page.Total, maxStreams)
		}
	}
}

func (s *source) streamPage(ctx context.Context, offset int) (*streamPage, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	subject := jsapi.Subject(s.js, "STREAM.LIST")
	m, err := s.nc.RequestWithContext(ctx, subject, fmt.Appendf(nil, `{"offset":%d}`, offset))
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", jsapi.Denied(s.nc, subject, err))
	}
	var page streamPage
	if err := json.Unmarshal(m.Data, &page); err != nil {
		return nil, fmt.Errorf("decode the list of streams: %w", err)
	}
	if page.Error != nil {
		return nil, fmt.Errorf("list streams: %s", page.Error.Description)
	}
	return &page, nil
}
