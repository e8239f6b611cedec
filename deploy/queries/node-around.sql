-- What a node did around a time. Put in the host, the time (UTC) and the seconds before and after it.
with asked as (
  select 'node0000' as host, timestamp '2026-11-24 04:14:40' as around
)
select
  inputs.seq, inputs.time, inputs.type, coalesce(inputs.change, inputs.operation) as what, inputs.errno, inputs.path,
  inputs.container, inputs.pid, inputs.comm, inputs.exit_code
from inputs
join asked on inputs.host = asked.host
where inputs.time between asked.around - interval '60' second and asked.around + interval '60' second
order by inputs.time, inputs.seq
