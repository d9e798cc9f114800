package emitter

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// working is how many pools are given out.
func (q *workQueue) working() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.busy)
}

// idle reports whether nothing is to be done.
func (q *workQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.every && len(q.dirty) == 0
}

// all takes what the queue gives out.
func (q *workQueue) all() (names []string) {
	for name, ok := q.get(); ok; name, ok = q.get() {
		names = append(names, name)
	}
	return names
}

func TestWorkQueue_GivesOutEachOnceInTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	q := newWorkQueue()
	q.add("b", "a", "b", "no name at all", "", "c", "a")
	if got := q.all(); !slices.Equal(got, []string{"b", "a", "c"}) {
		t.Errorf("given out: %q", got)
	}
}

func TestWorkQueue_WakesAsLongAsThereIsSomethingToGiveOut(t *testing.T) {
	t.Parallel()
	q := newWorkQueue()
	q.add("a", "b")
	for left := 2; left > 0; left-- {
		select {
		case <-q.wake:
		default:
			t.Errorf("nobody is woken though %d can be given out", left)
		}
		q.get()
	}
	q.add("a") // while it is busy
	select {
	case <-q.wake:
		t.Error("somebody is woken for what is not given out yet")
	default:
	}
	q.done("a")
	<-q.wake
}

func TestWorkQueue_TriesAgainWhatFailed(t *testing.T) {
	t.Parallel()
	q := newWorkQueue()
	q.add("a")
	q.all()
	q.retry("a")
	q.done("a")
	if got := q.all(); len(got) != 0 {
		t.Errorf("%q are given out before they are to be tried again", got)
	}
	q.addFailed()
	q.addFailed()
	if got := q.all(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("given out: %q", got)
	}
}

// However adds and looks interleave, no pool is given out twice at once, and each
// is given out after it was last added.
func TestWorkQueue_LosesNoPoolAndGivesNoneOutTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := newWorkQueue()
		due, busy := map[string]bool{}, map[string]bool{}
		get := func() {
			name, ok := q.get()
			switch {
			case !ok:
			case busy[name] || !due[name]:
				t.Fatalf("%s is given out, busy %v, due %v", name, busy[name], due[name])
			default:
				busy[name] = true
				delete(due, name)
			}
		}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
			switch rapid.SampledFrom([]string{"add", "get", "done"}).Draw(t, "step") {
			case "add":
				q.add(name)
				due[name] = true
			case "get":
				get()
			case "done":
				if busy[name] {
					q.done(name)
					delete(busy, name)
				}
			}
		}
		for name := range busy {
			q.done(name)
		}
		clear(busy)
		if len(due) > 0 {
			<-q.wake // it was told
		}
		for range 3 {
			get()
		}
		if left := q.all(); len(due) > 0 || len(left) > 0 {
			t.Fatalf("%v were not given out, %v are left", due, left)
		}
	})
}
