package pattern_test

import (
	"fmt"

	"github.com/sluicehq/sluice/pkg/pattern"
)

func ExamplePattern_Explain() {
	p, err := pattern.ParsePayload([]byte(`{"issue": {"user": {"login": [{"prefix": "Coder"}]}, "comments": 0}}`))
	if err != nil {
		panic(err)
	}
	d := pattern.NewDocument(pattern.Event{Data: []byte(`{"issue": {"user": {"login": "octocat"}}}`)})
	reasons, err := p.Explain(d, pattern.Budget)
	if err != nil {
		panic(err)
	}
	for _, why := range reasons {
		fmt.Println(why)
	}
	// Output:
	// issue.user.login: want [{"prefix":"Coder"}], found "octocat"
	// issue.comments: want 0, found nothing
}

func ExampleIndex() {
	opened, err := pattern.ParseEvent([]byte(`{"type": ["issues.opened"], "headers": {"x-region": ["eu", "us"]}}`))
	if err != nil {
		panic(err)
	}
	busy, err := pattern.ParsePayload([]byte(`{"issue": {"comments": [{"numeric": [">=", 10]}]}}`))
	if err != nil {
		panic(err)
	}
	var x pattern.Index[string]
	x.Add("triage", opened)
	x.Add("escalate", opened, busy)

	d := pattern.NewDocument(pattern.Event{
		Type:    "issues.opened",
		Headers: pattern.HeadersOf(map[string][]string{"X-Region": {"eu"}}),
		Data:    []byte(`{"issue": {"comments": 3}}`),
	})
	x.Match(d, nil, func(name string, v pattern.Verdict) { fmt.Printf("%s: %s\n", name, v) })
	// Unordered output:
	// triage: match
	// escalate: no match
}
