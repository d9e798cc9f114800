package pattern

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// kinds are patterns of every kind that an index files in its own way, each
// distinct in i. Those of 0 match the webhook and no others do. All values
// look alike, as those of one field do, and begin or end like the webhook's.
var kinds = [...]func(i int) string{
	func(i int) string { return fmt.Sprintf(`{"repository":{"id":%d}}`, 186853002+i) },
	func(i int) string { return fmt.Sprintf(`{"action":"edited","sender":{"id":[%d]}}`, 21031067+i) },
	func(i int) string { return fmt.Sprintf(`{"issue":{"title":[{"prefix":"Case %06d"}]}}`, i) },
	func(i int) string { return fmt.Sprintf(`{"sender":{"login":[{"suffix":"%06d-bot"}]}}`, i) },
	func(i int) string {
		return fmt.Sprintf(`{"repository":{"full_name":[{"equals-ignore-case":"OCTO/Hello-%06d"}]}}`, i)
	},
	func(i int) string {
		return fmt.Sprintf(`{"issue":{"html_url":[{"wildcard":"https://github.com/octo/hello-%06d/*/1"}]}}`, i)
	},
	func(i int) string {
		return fmt.Sprintf(`{"issue":{"number":[{"numeric":[">=",%d,"<",%d]}]}}`, 100*i, 100*i+150)
	},
	func(i int) string { return fmt.Sprintf(`{"issue":{"fields":{"f%06d":[{"exists":true}]}}}`, i) },
	func(i int) string {
		return fmt.Sprintf(`{"$or":[{"issue":{"labels":{"name":"label %06d"}}},{"issue":{"milestone":{"title":[{"prefix":"m%06d"}]}}}]}`, i, i)
	},
	func(i int) string {
		return fmt.Sprintf(`{"action":["edited","closed"],"issue":{"user":{"login":[{"anything-but":"x"}],"id":%d}}}`, i+1)
	},
}

func manyPatterns(tb testing.TB, n int) []*Pattern {
	tb.Helper()
	ps := make([]*Pattern, n)
	for i := range ps {
		ps[i] = mustPayload(tb, kinds[i%len(kinds)](i/len(kinds)))
	}
	return ps
}

// webhook returns a payload of about 10 KiB in the shape of those that GitHub
// sends when an issue is edited.
func webhook(tb testing.TB) []byte {
	tb.Helper()
	user := func(login string, id int) map[string]any {
		u := map[string]any{"login": login, "id": id, "node_id": "MDQ6VXNlcjIxMDMxMDY3", "gravatar_id": "", "type": "User", "site_admin": false}
		for _, s := range strings.Fields("followers following gists starred subscriptions organizations repos events received_events avatar html") {
			u[s+"_url"] = "https://api.github.com/users/" + login + "/" + s + "{/other}"
		}
		return u
	}
	repository := map[string]any{
		"id": 186853002, "name": "hello-000000", "full_name": "octo/hello-000000", "private": false, "owner": user("octo", 9),
		"description": nil, "fork": false, "size": 7, "stargazers_count": 3, "language": "Go", "default_branch": "main",
		"created_at": "2019-05-15T15:19:25Z", "topics": []string{"a", "b"}, "license": map[string]any{"key": "mit", "name": "MIT"},
	}
	for _, s := range strings.Fields("archive assignees blobs branches collaborators comments commits compare contents contributors " +
		"deployments downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events issues keys labels " +
		"languages merges milestones notifications pulls releases stargazers statuses subscribers subscription tags teams trees") {
		repository[s+"_url"] = "https://api.github.com/repos/octo/hello-000000/" + s + "{/sha}"
	}
	labels := make([]any, 8)
	for i := range labels {
		labels[i] = map[string]any{
			"id": 1362934389 + i, "name": fmt.Sprintf("label %06d", -i), "color": "d73a4a", "default": true,
			"url": "https://api.github.com/repos/octo/hello-000000/labels/bug", "description": "Something isn't working",
		}
	}
	data, err := json.Marshal(map[string]any{
		"action": "edited",
		"issue": map[string]any{
			"url": "https://api.github.com/repos/octo/hello-000000/issues/1", "html_url": "https://github.com/octo/hello-000000/issues/1",
			"id": 444500041, "number": 42, "title": "Case 000000: spelling error", "user": user("octocat", 1), "labels": labels,
			"state": "open", "locked": false, "assignee": user("hubot", 2), "assignees": []any{user("hubot", 2)},
			"milestone": map[string]any{"id": 4317517, "number": 1, "title": "v1.0", "creator": user("octo", 9)},
			"comments":  0, "created_at": "2019-05-15T15:20:18Z", "fields": map[string]any{"f000000": 1, "other": []int{1, 2}},
			"body": strings.Repeat("It looks like you accidentally spelled “commit” with two t's.\n", 12),
		},
		"changes":    map[string]any{},
		"repository": repository,
		"sender":     user("robot-000000-bot", 21031067),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func TestOnlyPatternsThatMatchAreTriedOnAWebhook(t *testing.T) {
	t.Parallel()
	data := webhook(t)
	if len(data) < 9<<10 || len(data) > 16<<10 {
		t.Errorf("a webhook of %d bytes", len(data))
	}
	var x Index[int]
	for i, p := range manyPatterns(t, 5000) {
		x.Add(i, p)
	}
	found := 0
	tried := x.Match(NewDocument(Event{Data: data}), nil, onMatch(func(int) { found++ }))
	if found != len(kinds) || tried > 2*len(kinds) {
		t.Errorf("tried %d and found %d, want %d", tried, found, len(kinds))
	}
}

func BenchmarkIndexMatch(b *testing.B) {
	data := webhook(b)
	for _, n := range []int{100, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			empty := heap()
			ps := manyPatterns(b, n)
			parsed := heap()
			var x Index[int]
			for i, p := range ps {
				x.Add(i, p)
			}
			indexed := heap()
			b.ReportAllocs()
			for b.Loop() {
				x.Match(NewDocument(Event{Data: data}), nil, func(int, Verdict) {})
			}
			b.ReportMetric(float64(parsed-empty)/float64(n), "B/pattern")
			b.ReportMetric(float64(indexed-parsed)/float64(n), "B/indexed")
			runtime.KeepAlive(ps)
		})
	}
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkFewPaths is a webhook of which two patterns look at three members.
func BenchmarkFewPaths(b *testing.B) {
	data := webhook(b)
	var x Index[int]
	x.Add(1, mustPayload(b, `{"action":"edited","issue":{"number":41}}`))
	x.Add(2, mustPayload(b, `{"sender":{"login":"octocat"}}`))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		x.Match(NewDocument(Event{Data: data}), nil, func(int, Verdict) {})
	}
}

// BenchmarkAddAndRemove is n patterns added and removed: the time for one must
// not grow with their number.
func BenchmarkAddAndRemove(b *testing.B) {
	for _, n := range []int{1000, 10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ps := manyPatterns(b, n)
			for b.Loop() {
				var x Index[int]
				for i, p := range ps {
					x.Add(i, p)
				}
				for i := range ps {
					x.Remove(i)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/pattern")
		})
	}
}
