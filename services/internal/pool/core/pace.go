package core

import (
	"time"

	"golang.org/x/time/rate"
)

// pace bounds how many deliveries are sent in a second. It is a token bucket that
// begins empty: neither a start nor a change of owner sends a burst. The zero
// value bounds nothing.
type pace struct {
	bucket *rate.Limiter // nil: there is no bound
	begun  bool
}

const (
	// paceBurst is which part of a second may be made up for, so that a wake-up
	// that comes late costs no deliveries.
	paceBurst = 10
	// paceSteps is how often in a second deliveries are sent, at most, by a pool
	// that only its pace holds back.
	paceSteps = 100
)

func newPace(perSecond int) pace {
	if perSecond <= 0 {
		return pace{}
	}
	return pace{bucket: rate.NewLimiter(rate.Limit(perSecond), max(perSecond/paceBurst, 1))}
}

// next is when a delivery may be sent; zero is now.
func (p *pace) next(now time.Time) time.Time {
	if p.bucket == nil {
		return time.Time{}
	}
	if !p.begun {
		p.begun = true
		p.bucket.AllowN(now, p.bucket.Burst())
	}
	left := p.bucket.TokensAt(now)
	if left >= 1 {
		return time.Time{}
	}
	perSecond := float64(p.bucket.Limit())
	wait := (max(perSecond/paceSteps, 1) - left) / perSecond
	return now.Add(time.Duration(wait*float64(time.Second)) + time.Microsecond) // and no rounding can make it too early
}

// spend notes that a delivery is sent.
func (p *pace) spend(now time.Time) {
	if p.bucket != nil {
		p.bucket.ReserveN(now, 1)
	}
}
