//! Integration tests: the real binaries as processes, a real Kafka, random topics.
//!
//! Kafka is found as everywhere (`KAFKA_BOOTSTRAP_SERVERS`, Docker, jars); tests that kill Kafka start one of their own.
//! `cargo test -p framelane-tests NAME` runs one of them; logs of its processes are printed when it fails.

#![allow(clippy::unwrap_used)] // all of this is tests, helpers included

mod harness;

mod batching;
mod boundaries;
mod broker_delivery;
mod broker_pictures;
mod broker_policies;
mod consumer;
mod consumer_kills;
mod delivery_attacks;
mod errors;
mod faults_cluster;
mod faults_commit;
mod faults_content;
mod faults_disk;
mod faults_group;
mod faults_lab;
mod faults_network;
mod faults_nodes;
mod faults_source;
mod faults_table;
mod gateway;
mod gateway_access;
mod gateway_page;
mod gateway_registry;
mod gateway_viewers;
mod kafka_faults;
mod managed_consumers;
mod managed_sources;
mod monitors;
mod pipeline;
mod pipelines;
mod producer;
mod producer_restarts;
mod python;
mod registry_cli;
mod registry_doctor;
mod registry_faults;
mod registry_instances;
mod registry_lab;
mod registry_rest;
mod registry_writes;
mod resize_clients;
mod security_access;
mod security_kafka;
mod security_lab;
mod security_processors;
mod security_secrets;
mod tracking;
