package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sluicehq/sluice/integration/events"
	"github.com/sluicehq/sluice/pkg/pattern"
)

func matches() []benchmark {
	return []benchmark{{
		name: "match_flat", unit: "µs", goal: atMost(2), alone: true,
		about:  "matching one webhook against 50,000 distinct patterns of all kinds, against 100 of them",
		sluice: matchAgainst(50_000), other: matchAgainst(100),
	}}
}

// matchAgainst measures what it takes to find the patterns that match a
// payload among n, decoding included.
func matchAgainst(n int) side {
	return func(ctx context.Context, _ *world, o options) (float64, error) {
		e, err := sample()
		if err != nil {
			return 0, err
		}
		var x pattern.Index[int]
		for i, source := range patternsFor(e.Data, n) {
			p, err := pattern.ParsePayload(source)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", source, err)
			}
			x.Add(i, p)
		}
		found := 0
		repeats := o.scale(20_000, 2_000)
		begin := time.Now()
		for range repeats {
			d := pattern.NewDocument(pattern.Event{Type: e.Type, Stream: e.Stream, Subject: e.Subject, Data: e.Data})
			x.Match(d, nil, func(_ int, v pattern.Verdict) {
				if v == pattern.Matches {
					found++
				}
			})
		}
		took := time.Since(begin)
		if found != repeats*matching {
			return 0, fmt.Errorf("%d patterns matched, want %d", found/repeats, matching)
		}
		return float64(took) / float64(time.Microsecond) / float64(repeats), ctx.Err()
	}
}

// sample is a real GitHub webhook of about 10 KB where a copy is at hand, else
// a generated event like one.
func sample() (events.Event, error) {
	dir, err := events.DataDir()
	if err != nil {
		return events.Event{}, err
	}
	all, ok, err := events.Webhooks(dir)
	if err != nil {
		return events.Event{}, err
	}
	if !ok {
		all = slices.Collect(events.Generate(1, 1000))
	}
	for _, e := range all {
		if e.JSON && len(e.Data) > 8_000 && len(e.Data) < 14_000 {
			return e, nil
		}
	}
	return events.Event{}, errors.New("no event of about 10 KB")
}

// matching is how many of the patterns match.
const matching = 3

// patternsFor makes n distinct patterns, of all operators in turn, over the
// fields that the payload has. All but a few ask for values that it has not.
func patternsFor(payload []byte, n int) []json.RawMessage {
	var root any
	_ = json.Unmarshal(payload, &root) // an event of sample is JSON
	texts, numbers := leaves(root)
	var all []json.RawMessage
	for i := range n {
		text, number := texts[i%len(texts)], numbers[i%len(numbers)]
		var p any
		switch i % 8 {
		case 0:
			p = text.with(fmt.Sprintf("value-%d", i))
		case 1:
			p = text.with(map[string]any{"prefix": fmt.Sprintf("begins-%d", i)})
		case 2:
			p = text.with(map[string]any{"suffix": fmt.Sprintf("ends-%d", i)})
		case 3:
			p = text.with(map[string]any{"equals-ignore-case": fmt.Sprintf("Folded-%d", i)})
		case 4:
			p = text.with(map[string]any{"wildcard": fmt.Sprintf("from-%d*to", i)})
		case 5:
			p = number.with(map[string]any{"numeric": []any{">", -2 - 2*i, "<", -1 - 2*i}})
		case 6:
			p = map[string]any{fmt.Sprintf("absent-%d", i): []any{map[string]any{"exists": true}}}
		case 7:
			p = map[string]any{"$or": []any{text.with(fmt.Sprintf("one-%d", i)), number.with(-3 - 2*i)}}
		}
		if i < matching {
			p = texts[i].with(texts[i].value)
		}
		source, _ := json.Marshal(p) // of strings and numbers only
		all = append(all, source)
	}
	return all
}

// leaf is a scalar of a document and the names that lead to it.
type leaf struct {
	path  []string
	value any
}

// with is a pattern that asks for one alternative at the leaf's path.
func (l leaf) with(alternative any) any {
	var p any = []any{alternative}
	for _, name := range slices.Backward(l.path) {
		p = map[string]any{name: p}
	}
	return p
}

// leaves lists the strings and the numbers of a document, in order of their paths.
func leaves(root any) (texts, numbers []leaf) {
	var walk func(v any, path []string)
	walk = func(v any, path []string) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				walk(v[name], append(slices.Clone(path), name))
			}
		case string:
			texts = append(texts, leaf{path, v})
		case float64:
			numbers = append(numbers, leaf{path, v})
		}
	}
	walk(root, nil)
	return texts, numbers
}
