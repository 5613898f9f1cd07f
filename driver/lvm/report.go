package lvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// lv is a logical volume as lvs reports it, see lvmreport(7).
type lv struct {
	VG         string `json:"vg_name"`
	VGUUID     string `json:"vg_uuid"`
	Name       string `json:"lv_name"`
	UUID       string `json:"lv_uuid"`
	Segment    string `json:"segtype"`
	Pool       string `json:"pool_lv"`
	Origin     string `json:"origin"`
	OriginUUID string `json:"origin_uuid"`
	Tags       string `json:"lv_tags"`
	Order      string `json:"transaction_id"`
	Permission string `json:"lv_permissions"`
	Active     string `json:"lv_active"`
	Open       string `json:"lv_device_open"`
	Suspended  string `json:"lv_suspended"`
	Partial    string `json:"vg_partial"`
	Size       string `json:"lv_size"` // in bytes
	Thin       string `json:"thin_id"` // its number in its pool
}

// fields of lv. None of them asks a thin pool for its state, which takes long with many volumes.
const fields = "vg_name,vg_uuid,lv_name,lv_uuid,segtype,pool_lv,origin,origin_uuid,lv_tags,transaction_id," +
	"lv_permissions,lv_active,lv_device_open,lv_suspended,vg_partial,lv_size,thin_id"

// report begins a command that lists volumes, for parseReport.
func report(columns string) []string {
	return []string{"lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", columns}
}

func (v lv) String() string { return v.VG + "/" + v.Name }

func (v lv) tags() []string {
	if v.Tags == "" {
		return nil
	}
	return strings.Split(v.Tags, ",")
}

func (v lv) thin() bool { return v.Segment == "thin" }

func (v lv) writable() bool { return v.Permission != "read-only" }

// inUse reports whether the device is mounted or otherwise open.
func (v lv) inUse() bool { return v.Open == "open" }

// volumes are the logical volumes of the groups, of all groups without arguments.
func volumes(ctx context.Context, groups ...string) ([]lv, error) {
	text, err := ask(ctx, append(report(fields), groups...)...)
	if err != nil {
		return nil, err
	}
	all, err := parseReport[lv](text)
	if err != nil {
		return nil, err
	}
	return all, whole(all)
}

// parseReport reads what lvs --reportformat json prints. A volume is reported once for each of its segments; the first
// stands for all.
func parseReport[T any](text []byte) ([]T, error) {
	var doc struct {
		Report []struct {
			LV []T `json:"lv"`
		} `json:"report"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("read the report of lvs: %w", err)
	}
	if len(doc.Report) != 1 {
		return nil, fmt.Errorf("read the report of lvs: %d reports, not 1", len(doc.Report))
	}
	return doc.Report[0].LV, nil
}

var errPartial = errors.New("physical volumes are missing")

// whole is an error if a group with thin pools has lost a disk: what lvs shows of it may be less than there is.
func whole(all []lv) error {
	for _, v := range all {
		if v.Partial != "" && strings.HasPrefix(v.Segment, "thin") {
			return fmt.Errorf("volume group %s: %w", v.VG, errPartial)
		}
	}
	return nil
}

// present reports whether this host has an active logical volume. It starts no process.
func present() (bool, error) {
	names, err := filepath.Glob("/sys/block/dm-*/dm/uuid")
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(name string) bool {
		text, err := os.ReadFile(name)
		return err == nil && strings.HasPrefix(string(text), uuidPrefix)
	}), nil
}

// uuidPrefix of devices of LVM; the UUIDs of group and volume follow without dashes.
const uuidPrefix = "LVM-"

// groupsOf are the volume groups of datasets.
func groupsOf(ds []driver.Dataset) ([]string, error) {
	var out []string
	for _, one := range ds {
		if one.Kind != Kind {
			return nil, fmt.Errorf("%s: %w", one, driver.ErrNotSupported)
		}
		vg, _, err := split(one.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, vg)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
