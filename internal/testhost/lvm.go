package testhost

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

const thinPool = "thin"

// createLVM makes a volume group on a loop device, nearly all of it a thin pool. What is left over lets the pool's metadata
// grow.
func createLVM(p *Pool, image string) error {
	device, err := output("losetup", "--find", "--show", image)
	if err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"pvcreate", "--quiet", "--yes", device},
		{"vgcreate", "--quiet", p.Name, device},
		{"lvcreate", "--quiet", "--yes", "--type", "thin-pool", "--extents", "90%FREE", "--poolmetadatasize", "8m", "--name", thinPool, p.Name},
	} {
		if err := run(argv...); err != nil {
			return err
		}
	}
	return nil
}

// removeLVM also finds what is left of a pool that was made in part.
func removeLVM(p *Pool) error {
	var failed error
	if run("vgs", p.Name) == nil {
		failed = run("vgremove", "--quiet", "--force", "--force", "--yes", p.Name)
	}
	devices, err := output("losetup", "--noheadings", "--output", "NAME", "--associated", filepath.Join(p.Dir, "image"))
	if err != nil {
		return failed // the file was never made
	}
	for _, device := range strings.Fields(devices) {
		failed = errors.Join(failed, run("losetup", "--detach", device))
	}
	return failed
}

func haveLVM() error {
	if err := havePrograms("lvcreate", "thin_check", "mkfs.ext4", "losetup"); err != nil {
		return err
	}
	targets, err := output("dmsetup", "targets")
	if err == nil && !strings.Contains(targets, "thin-pool") {
		err = run("modprobe", "dm_thin_pool")
	}
	if err != nil {
		return fmt.Errorf("the kernel has no device mapper with thin pools: %w", err)
	}
	return haveLoop()
}
