# SPDX-License-Identifier: BSD-2-Clause
# What `cmake --install` puts where. Included by the top CMakeLists.txt, after
# all folders. `dipc` finds daemons and library from where it lies itself, so
# the prefix may be moved.
include(CMakePackageConfigHelpers)

# dipcd and dipc-referee: their own folders install them into SBINDIR
install(TARGETS dipc RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS dipc-rdma EXPORT dipc-rdma-targets
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
	INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/dipc DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
	FILES_MATCHING PATTERN "*.h")
install(DIRECTORY docs/man DESTINATION ${CMAKE_INSTALL_DOCDIR}
	FILES_MATCHING PATTERN "*.md")
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# cc prog.c $(pkg-config --cflags --libs dipc-rdma)
# where it ends up is known at install time only (--prefix)
file(RELATIVE_PATH DIPC_PREFIX_FROM_PC
	${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(runtime/client/dipc-rdma.pc.in dipc-rdma.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/dipc-rdma.pc
	DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# find_package(dipc-rdma); target_link_libraries(prog dipc::dipc-rdma)
set(dipc_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/dipc-rdma)
configure_package_config_file(runtime/client/dipc-rdma-config.cmake.in
	${CMAKE_BINARY_DIR}/dipc-rdma-config.cmake
	INSTALL_DESTINATION ${dipc_cmake_dir})
write_basic_package_version_file(
	${CMAKE_BINARY_DIR}/dipc-rdma-config-version.cmake
	COMPATIBILITY SameMajorVersion)
install(FILES
	${CMAKE_BINARY_DIR}/dipc-rdma-config.cmake
	${CMAKE_BINARY_DIR}/dipc-rdma-config-version.cmake
	DESTINATION ${dipc_cmake_dir})
install(EXPORT dipc-rdma-targets NAMESPACE dipc::
	DESTINATION ${dipc_cmake_dir})
