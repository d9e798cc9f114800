package preview

import "math"

// z is the quantile of the normal distribution for 95 %.
const z = 1.959964

// interval is Wilson's for a share, where hits of n that were drawn by lot have
// what is asked for.
func interval(hits, n uint64) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	p, m := float64(hits)/float64(n), float64(n)
	centre := p + z*z/(2*m)
	spread := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	low, high = (centre-spread)/(1+z*z/m), (centre+spread)/(1+z*z/m)
	if hits == 0 {
		low = 0 // it is, but for rounding
	}
	if hits == n {
		high = 1
	}
	return low, high
}
