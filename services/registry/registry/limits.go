package registry

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxPrefixes bounds the name prefixes that have a limit of their own at
	// one time. More share one.
	maxPrefixes = 4096
	// forgetAfter is how long a prefix is remembered after its last request. By
	// then its limit is as that of a new one: the burst is what a second allows.
	forgetAfter = 2 * time.Second
)

// limits bound the requests a second: in all, and of the subscriptions whose
// names have the same prefix, so that one team's flood leaves room for others.
// What a prefix is refused does not count in all.
type limits struct {
	perSecond int // how many requests one prefix may make

	mu       sync.Mutex
	all      *rate.Limiter
	prefixes map[string]*prefixLimit
	swept    time.Time
}

type prefixLimit struct {
	limiter *rate.Limiter
	used    time.Time
}

func newLimits(all, perPrefix int) *limits {
	return &limits{
		perSecond: perPrefix,
		all:       rate.NewLimiter(rate.Limit(all), all),
		prefixes:  map[string]*prefixLimit{},
	}
}

// prefixOf is what comes before the first "-" or "_" of a subscription's name,
// or all of it.
func prefixOf(name string) string {
	if i := strings.IndexAny(name, "-_"); i > 0 {
		return name[:i]
	}
	return name
}

// allow takes a request for the subscription of a name, or none, in. Where it
// does not it returns how many are left in all, which is 0 where the limit in
// all is the reason.
func (l *limits) allow(name string, now time.Time) (ok bool, left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.of(prefixOf(name), now).AllowN(now, 1) {
		return false, max(0, int(l.all.TokensAt(now)))
	}
	if !l.all.AllowN(now, 1) {
		return false, 0
	}
	return true, 0
}

// of returns the limiter of a prefix. l.mu is held.
func (l *limits) of(prefix string, now time.Time) *rate.Limiter {
	if now.Sub(l.swept) > forgetAfter {
		l.swept = now
		for name, p := range l.prefixes {
			if now.Sub(p.used) > forgetAfter {
				delete(l.prefixes, name)
			}
		}
	}
	p := l.prefixes[prefix]
	if p == nil && len(l.prefixes) >= maxPrefixes {
		prefix = "" // as requests without a name
		p = l.prefixes[prefix]
	}
	if p == nil {
		p = &prefixLimit{limiter: rate.NewLimiter(rate.Limit(l.perSecond), l.perSecond)}
		l.prefixes[prefix] = p
	}
	p.used = now
	return p.limiter
}
