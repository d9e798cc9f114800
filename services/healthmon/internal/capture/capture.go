package capture

import "strings"

// Stream is what is known of a stream.
type Stream struct {
	Name     string
	Subjects []string // filters
	From     []string // the streams of the same account that it copies
}

// Map answers questions about streams. The zero value knows of none.
type Map struct {
	root node
	from map[string][]string
}

// Hit is a stream and its filter that a subject matches.
type Hit struct{ Stream, Filter string }

// node is a place in a tree of filters, token by token.
type node struct {
	next map[string]*node // by token; "*" is any
	end  []Hit            // the filters that end here
	rest []Hit            // the filters that go on with ">"
}

// New returns a Map of streams.
func New(streams []Stream) *Map {
	m := &Map{from: make(map[string][]string, len(streams))}
	for _, s := range streams {
		m.from[s.Name] = s.From
		for _, filter := range s.Subjects {
			m.root.add(filter, Hit{s.Name, filter})
		}
	}
	return m
}

func (n *node) add(filter string, h Hit) {
	for token := range strings.SplitSeq(filter, ".") {
		if token == ">" {
			n.rest = append(n.rest, h)
			return
		}
		if n.next == nil {
			n.next = map[string]*node{}
		}
		if n.next[token] == nil {
			n.next[token] = &node{}
		}
		n = n.next[token]
	}
	n.end = append(n.end, h)
}

// Find returns the streams that store what is published on a literal subject.
func (m *Map) Find(subject string) []Hit {
	return m.root.find(strings.Split(subject, "."), nil)
}

func (n *node) find(tokens []string, hits []Hit) []Hit {
	if len(tokens) == 0 {
		return append(hits, n.end...)
	}
	hits = append(hits, n.rest...)
	for _, token := range []string{tokens[0], "*"} {
		if next := n.next[token]; next != nil {
			hits = next.find(tokens[1:], hits)
		}
	}
	return hits
}

// Origins returns store and the streams that its events come from, however far
// back, each once.
func (m *Map) Origins(store string) []string {
	out, seen := []string{store}, map[string]bool{store: true}
	for i := 0; i < len(out); i++ {
		for _, from := range m.from[out[i]] {
			if !seen[from] {
				seen[from] = true
				out = append(out, from)
			}
		}
	}
	return out
}
