-- Trials that wait (0), run (1) and have ended (2), and what they reported.
drop table if exists trials, reports;
create table trials (
    id bigint generated always as identity primary key,
    state smallint not null default 0,
    params jsonb not null,
    lease bigint not null default 0,
    value double precision
);
create index on trials (id) where state = 0;
create table reports (trial bigint not null, step int not null, value double precision not null, primary key (trial, step));
create index on reports (step, value) where step in (1, 3, 9);
