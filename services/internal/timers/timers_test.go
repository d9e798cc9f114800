package timers_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// sleeper notes when it is woken.
type sleeper struct {
	mu    sync.Mutex
	woken []time.Duration // since the start
	start time.Time
	then  func(now time.Time)
	*timers.Alarm
}

func sleeps(tm *timers.Timers, start time.Time) *sleeper {
	s := &sleeper{start: start}
	s.Alarm = tm.Alarm(s.tick)
	return s
}

func (s *sleeper) tick(now time.Time) {
	s.mu.Lock()
	s.woken = append(s.woken, now.Sub(s.start))
	s.mu.Unlock()
	if s.then != nil {
		s.then(now)
	}
}

func (s *sleeper) want(t *testing.T, want ...time.Duration) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.woken) != len(want) {
		t.Fatalf("woken at %v, want %v", s.woken, want)
	}
	for i := range want {
		if s.woken[i] != want[i] {
			t.Fatalf("woken at %v, want %v", s.woken, want)
		}
	}
}

// run starts timers in a bubble; at waits until a time since the start.
func run(t *testing.T, f func(t *testing.T, tm *timers.Timers, start time.Time, at func(time.Duration))) {
	t.Helper()
	clocktest.Run(t, func(t *testing.T) {
		tm := timers.New()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tm.Run(ctx) }()
		start := time.Now()
		f(t, tm, start, func(d time.Duration) {
			<-time.After(time.Until(start.Add(d)))
			synctest.Wait()
		})
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestEachIsWokenOnceAtItsTime(t *testing.T) {
	run(t, func(t *testing.T, tm *timers.Timers, start time.Time, at func(time.Duration)) {
		var ss [20]*sleeper
		for i := range ss {
			ss[i] = sleeps(tm, start)
			ss[i].Set(start.Add(time.Duration((i*7)%20) * time.Second))
		}
		at(5 * time.Second)
		for i := range ss {
			due := time.Duration((i*7)%20) * time.Second
			if due <= 5*time.Second {
				ss[i].want(t, due)
			} else {
				ss[i].want(t)
			}
		}
		at(time.Minute)
		for i := range ss {
			ss[i].want(t, time.Duration((i*7)%20)*time.Second)
		}
	})
}

func TestTheEarlierOfTwoTimesCounts(t *testing.T) {
	run(t, func(t *testing.T, tm *timers.Timers, start time.Time, at func(time.Duration)) {
		a, b := sleeps(tm, start), sleeps(tm, start)
		a.Set(start.Add(10 * time.Second))
		at(time.Second) // Run waits for ten seconds now
		a.Set(start.Add(3 * time.Second))
		a.Set(start.Add(20 * time.Second))
		b.Set(start.Add(2 * time.Second))
		at(time.Minute)
		a.want(t, 3*time.Second)
		b.want(t, 2*time.Second)
	})
}

func TestAPastTimeWakesAtOnce(t *testing.T) {
	run(t, func(t *testing.T, tm *timers.Timers, start time.Time, at func(time.Duration)) {
		a := sleeps(tm, start)
		at(time.Second)
		a.Set(start)
		at(time.Second)
		a.want(t, time.Second)
	})
}

func TestForgottenIsNotWoken(t *testing.T) {
	run(t, func(t *testing.T, tm *timers.Timers, start time.Time, at func(time.Duration)) {
		var ss [9]*sleeper
		for i := range ss {
			ss[i] = sleeps(tm, start)
			ss[i].Set(start.Add(time.Duration(i+1) * time.Second))
		}
		for _, i := range []int{0, 4, 8} {
			ss[i].Forget()
			ss[i].Forget() // again changes nothing
		}
		at(time.Minute)
		for i := range ss {
			if i%4 == 0 {
				ss[i].want(t)
			} else {
				ss[i].want(t, time.Duration(i+1)*time.Second)
			}
		}
	})
}

func TestWhoIsWokenMayAskAgain(t *testing.T) {
	run(t, func(t *testing.T, tm *timers.Timers, start time.Time, at func(time.Duration)) {
		a := sleeps(tm, start)
		a.then = func(now time.Time) {
			if now.Sub(start) < 3*time.Hour {
				a.Set(now.Add(time.Hour))
			}
		}
		a.Set(start.Add(time.Hour))
		at(10 * time.Hour)
		a.want(t, time.Hour, 2*time.Hour, 3*time.Hour)
	})
}
