package engine

import (
	"slices"

	"github.com/volsnap/volsnap/driver"
)

// request is what one call of Prepare is asked for.
type request struct {
	driver.Request
	driver driver.Driver
	pool   driver.Dataset
}

// requests puts the members into groups. When all writers are paused, it is one group a pool, and all start together. When
// they are not, members are taken in order, and only neighbours that their storage makes at one instant are in one group.
func (p *Plan) requests(id driver.SetID) []request {
	var all []request
	for _, it := range p.items {
		fits := func(r request) bool { return r.pool == it.pool }
		i := slices.IndexFunc(all, fits)
		if !p.covering {
			i = len(all) - 1
			if i >= 0 && !(fits(all[i]) && it.driver.Capabilities().AtomicGroup) {
				i = -1
			}
		}
		if i < 0 {
			i = len(all)
			all = append(all, request{Request: driver.Request{Set: id, Of: len(p.items)}, driver: it.driver, pool: it.pool})
		}
		all[i].Items = append(all[i].Items, it.Item)
	}
	return all
}

// instants says, for each member in order, at which of the set's instants it is made, as snapset.Taking wants it.
func (p *Plan) instants() []int {
	at := make([]int, len(p.items))
	next := 0
	for _, req := range p.requests("") {
		atomic := req.driver.Capabilities().AtomicGroup
		for i, it := range req.Items {
			if i == 0 || !atomic {
				next++
			}
			at[it.Member-1] = next
		}
	}
	return at
}
