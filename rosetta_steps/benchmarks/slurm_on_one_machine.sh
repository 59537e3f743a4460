#!/usr/bin/env bash
# A real Slurm of two nodes of one core each, with accounting, on this machine alone, from Debian's
# packages and as root: what `make check-slurm` runs jobs on. Account mine, partition work.
#   slurm_on_one_machine.sh start    installs what is missing; starts what does not run
#   slurm_on_one_machine.sh node N   starts node N again
#   slurm_on_one_machine.sh stop     ends it; its logs stay in /tmp/slurm-two/log
# Status 3 says that such a Slurm cannot be had here, for the reason that is printed.
set -u
place=/tmp/slurm-two
host=$(hostname -s)
none() {
    echo "$1"
    exit 3
}
until_it_answers() {
    for _ in $(seq 60); do
        timeout 5 "$@" >/dev/null 2>&1 && return
        sleep 0.5
    done
    none "no answer: $* (logs in $place/log)"
}
database() {
    mariadb --no-defaults --socket=$place/run/db.sock -e "$1"
}
node() {
    pgrep -f "^slurmd -N $1$" >/dev/null || slurmd -N "$1" 2>/dev/null
}

install_packages() {
    command -v slurmdbd munged mariadbd slurmd >/dev/null && return
    export DEBIAN_FRONTEND=noninteractive
    (apt-get update -qq && apt-get install -y -qq --no-install-recommends slurmctld slurmd slurmdbd \
        slurm-client munge mariadb-server) >/tmp/slurm-install.log 2>&1 ||
        none "Debian's packages of Slurm cannot be installed (/tmp/slurm-install.log)"
}

write_settings() {
    mkdir -p $place/{state,spool.n1,spool.n2,log,db,run} /run/munge
    chown mysql: $place/db $place/run && chown munge: /run/munge
    cat >/etc/slurm/slurm.conf <<CONF
ClusterName=two
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool.%n
SlurmdPidFile=$place/slurmd.%n.pid
SlurmctldPidFile=$place/slurmctld.pid
SlurmctldLogFile=$place/log/slurmctld
SlurmdLogFile=$place/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
ReturnToService=2
SlurmdTimeout=15
KillWait=5
MpiDefault=none
MailProg=/bin/true
GresTypes=gpu
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=7802 CPUs=1 RealMemory=6000 Gres=gpu:1 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=7803 CPUs=1 RealMemory=6000 Gres=gpu:1 State=UNKNOWN
PartitionName=work Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
    # Cards that Slurm allots and CUDA does not find.
    printf 'NodeName=n1 Name=gpu File=/dev/zero\nNodeName=n2 Name=gpu File=/dev/full\n' \
        >/etc/slurm/gres.conf
    cat >/etc/slurm/slurmdbd.conf <<CONF
AuthType=auth/munge
DbdHost=$host
DbdAddr=127.0.0.1
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=7804
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
LogFile=$place/log/slurmdbd
PidFile=$place/slurmdbd.pid
CONF
    chmod 600 /etc/slurm/slurmdbd.conf
    [ -s /etc/munge/munge.key ] || head -c 1024 /dev/urandom >/etc/munge/munge.key
    chown munge: /etc/munge/munge.key && chmod 400 /etc/munge/munge.key
}

start() {
    [ "$(id -u)" = 0 ] || none "only root may start one"
    [ ! -e /etc/slurm/slurm.conf ] || grep -q '^ClusterName=two$' /etc/slurm/slurm.conf ||
        none "/etc/slurm/slurm.conf is of another cluster, which is left alone"
    install_packages
    write_settings
    munge -n >/dev/null 2>&1 || su -s /bin/bash munge -c /usr/sbin/munged
    [ -d $place/db/mysql ] ||
        mariadb-install-db --user=mysql --datadir=$place/db --skip-test-db >$place/log/db-install 2>&1
    database 'select 1' >/dev/null 2>&1 ||
        (nohup mariadbd --no-defaults --user=mysql --datadir=$place/db --socket=$place/run/db.sock \
            --bind-address=127.0.0.1 --port=7804 --innodb-buffer-pool-size=128M \
            --innodb-lock-wait-timeout=900 --pid-file=$place/run/db.pid \
            </dev/null >$place/log/db 2>&1 &)
    until_it_answers mariadb --no-defaults --socket=$place/run/db.sock -e 'select 1'
    database "create database if not exists slurm_acct;
        create user if not exists 'slurm'@'localhost' identified by 'slurm';
        create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm';
        grant all on slurm_acct.* to 'slurm'@'localhost';
        grant all on slurm_acct.* to 'slurm'@'127.0.0.1'"
    pgrep -x slurmdbd >/dev/null || slurmdbd
    until_it_answers sacctmgr -n show cluster
    sacctmgr -i add cluster two >/dev/null 2>&1
    sacctmgr -i add account mine description=x organization=x cluster=two >/dev/null 2>&1
    sacctmgr -i add user root account=mine >/dev/null 2>&1
    pgrep -x slurmctld >/dev/null || slurmctld
    until_it_answers bash -c 'scontrol ping | grep -q UP'
    node n1
    node n2
    until_it_answers bash -c '[ "$(sinfo -h -N -t idle,mix,alloc | wc -l)" = 2 ]'
}

stop() {
    for file in $place/slurmd.n1.pid $place/slurmd.n2.pid $place/slurmctld.pid $place/slurmdbd.pid \
        $place/run/db.pid /run/munge/munged.pid; do
        pid=$(cat $file 2>/dev/null) && kill "$pid" 2>/dev/null || continue
        for _ in $(seq 40); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.25
        done
    done
    true
}

"$@"
