package testhost

import (
	"fmt"
	"os"
	"path/filepath"
)

// createZFS makes the pool on the file itself. No cache file names it, so no boot imports it. Its top dataset, which has
// the pool's name, is not mounted.
func createZFS(p *Pool, image string) error {
	return run("zpool", "create", "-o", "cachefile=none", "-O", "mountpoint=none", p.Name, image)
}

// removeZFS knows the pool by the kernel's word, which needs no zpool command to be there.
func removeZFS(p *Pool) error {
	if _, err := os.Stat(filepath.Join("/proc/spl/kstat/zfs", p.Name)); err != nil {
		return nil
	}
	return run("zpool", "destroy", "-f", p.Name)
}

func haveZFS() error {
	if err := havePrograms("zpool", "zfs"); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/module/zfs"); err == nil {
		return nil
	}
	if err := run("modprobe", "zfs"); err != nil {
		return fmt.Errorf("the kernel has no ZFS: %w", err)
	}
	return nil
}
