// SPDX-License-Identifier: Apache-2.0

package chart

import "math"

// A scale leads from values to pixels.
type scale struct {
	log      bool
	low, top float64
	ticks    []float64
}

func (c *Chart) scale() scale {
	low, high := math.Inf(1), 0.0
	for _, s := range c.Series {
		for _, v := range s.Values {
			if v.N > 0 {
				low, high = min(low, v.Min), max(high, v.Max)
			}
		}
	}
	if high == 0 {
		low, high = 1, 1
	}
	if c.Log && low > 0 {
		return logarithmic(low, high)
	}
	return linear(high)
}

// logarithmic has ticks at 1, 2 and 5 of each power of ten, from the last one that leaves
// the smallest bar some height.
func logarithmic(low, high float64) scale {
	s := scale{log: true}
	for v := math.Pow(10, math.Floor(math.Log10(low))-1); ; v *= 10 {
		for _, digit := range []float64{1, 2, 5} {
			switch tick := v * digit; {
			case tick <= low*0.8:
				s.ticks = []float64{tick}
			default:
				s.ticks = append(s.ticks, tick)
			}
			if last := s.ticks[len(s.ticks)-1]; last >= high {
				s.low, s.top = s.ticks[0], last
				return s
			}
		}
	}
}

// linear begins at 0 and has three to ten ticks.
func linear(high float64) scale {
	step := math.Pow(10, math.Floor(math.Log10(high)))
	switch {
	case high/step < 2:
		step /= 5
	case high/step < 4:
		step /= 2
	}
	s := scale{}
	for i := 0; s.top < high; i++ {
		s.top = step * float64(i)
		s.ticks = append(s.ticks, s.top)
	}
	return s
}

// at is the height of a value.
func (s scale) at(v float64) float64 {
	part := (v - s.low) / (s.top - s.low)
	if s.log {
		part = math.Log(v/s.low) / math.Log(s.top/s.low)
	}
	return bottom - part*(bottom-top)
}
